# Zynq-7000: its processor and its interconnect.

proc add_processor {} {
    set ps [add_ip processing_system7 ps]
    # The preset first: it sets everything, DDR and MIO included.
    set_property CONFIG.preset $::ps_preset $ps
    set_property -dict [list \
        CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $::clock_mhz \
        CONFIG.PCW_USE_M_AXI_GP0 1 \
        CONFIG.PCW_USE_S_AXI_HP0 1 \
        CONFIG.PCW_S_AXI_HP0_DATA_WIDTH $::axi_data_bits \
        CONFIG.PCW_USE_FABRIC_INTERRUPT 1 \
        CONFIG.PCW_IRQ_F2P_INTR 1 \
    ] $ps

    create_bd_intf_port -mode Master -vlnv xilinx.com:interface:ddrx_rtl:1.0 DDR
    create_bd_intf_port -mode Master -vlnv xilinx.com:display_processing_system7:fixedio_rtl:1.0 FIXED_IO
    connect_bd_intf_net [bus ps/DDR] [get_bd_intf_ports DDR]
    connect_bd_intf_net [bus ps/FIXED_IO] [get_bd_intf_ports FIXED_IO]

    drive ps/FCLK_CLK0 ps/M_AXI_GP0_ACLK ps/S_AXI_HP0_ACLK
    return {
        clock     ps/FCLK_CLK0
        reset     ps/FCLK_RESET0_N
        control   ps/M_AXI_GP0
        memory    ps/S_AXI_HP0
        interrupt ps/IRQ_F2P
        segment   ps/S_AXI_HP0/HP0_DDR_LOWOCM
    }
}

# SmartConnect is larger and slower on this family. The interconnect also turns AXI4 into the processor's AXI3.
proc add_interconnect {name clock} {
    set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] [add_ip axi_interconnect $name]
    drive $clock $name/ACLK $name/S00_ACLK $name/M00_ACLK
    drive reset/interconnect_aresetn $name/ARESETN
    drive reset/peripheral_aresetn $name/S00_ARESETN $name/M00_ARESETN
}
