# Zynq UltraScale+: its processor and its interconnect.

# The name-value pairs of a file with one per line, a tab between them; # starts a comment.
proc read_preset {path} {
    set file [open $path r]
    set lines [split [read $file] \n]
    close $file
    set pairs [list]
    foreach line $lines {
        if {$line ne "" && ![string match "#*" $line]} {
            lassign [split $line \t] name value
            lappend pairs CONFIG.$name $value
        }
    }
    return $pairs
}

proc add_processor {} {
    set ps [add_ip zynq_ultra_ps_e ps]
    # The preset first: it sets everything, DDR and MIO included.
    set_property -dict [read_preset [file join $::here $::ps_preset]] $ps
    # An unused M_AXI_HPM1_FPD would want a clock; with BASIC_CLOCK overridden the PL0 frequency has no effect.
    set_property -dict [list \
        CONFIG.PSU__USE__M_AXI_GP0 1 \
        CONFIG.PSU__USE__M_AXI_GP1 0 \
        CONFIG.PSU__USE__M_AXI_GP2 0 \
        CONFIG.PSU__USE__S_AXI_GP2 1 \
        CONFIG.PSU__SAXIGP2__DATA_WIDTH $::axi_data_bits \
        CONFIG.PSU__USE__IRQ0 1 \
        CONFIG.PSU__FPGA_PL0_ENABLE 1 \
        CONFIG.PSU__OVERRIDE__BASIC_CLOCK 0 \
        CONFIG.PSU__CRL_APB__PL0_REF_CTRL__SRCSEL IOPLL \
        CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $::clock_mhz \
    ] $ps

    drive ps/pl_clk0 ps/maxihpm0_fpd_aclk ps/saxihp0_fpd_aclk
    return {
        clock     ps/pl_clk0
        reset     ps/pl_resetn0
        control   ps/M_AXI_HPM0_FPD
        memory    ps/S_AXI_HP0_FPD
        interrupt ps/pl_ps_irq0
        segment   ps/SAXIGP2/HP0_DDR_LOW
    }
}

# It also narrows the processor's 128 bits to the registers' 32.
proc add_interconnect {name clock} {
    set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1 CONFIG.NUM_CLKS 1] [add_ip smartconnect $name]
    drive $clock $name/aclk
    drive reset/interconnect_aresetn $name/aresetn
}
