# The block design: processor, reset, one interconnect to the accelerator's registers, one from it to DRAM.
# The processor and the interconnects differ between the families: block_design_xc7.tcl, block_design_xcup.tcl.
# Names found here and there are asked for one by one, so that a wrong one stops the script where it is used.

proc stop {message} {
    error "shifthw: $message"
}

# The one object of a query's answer.
proc only {objects what} {
    if {[llength $objects] != 1} {
        stop "$what: there must be one in the block design, not [llength $objects]"
    }
    return [lindex $objects 0]
}

proc pin {path} {
    return [only [get_bd_pins -quiet $path] "pin $path"]
}

proc bus {path} {
    return [only [get_bd_intf_pins -quiet $path] "interface $path"]
}

# A cell of an IP in the version that this Vivado ships. axi_interconnect has a 1.x twin that is not for
# block designs, hence the filter.
proc add_ip {ip name} {
    set filter "VLNV =~ *:ip:${ip}:* && design_tool_contexts =~ *IPI* && UPGRADE_VERSIONS == \"\""
    set definitions [get_ipdefs -all -filter $filter]
    if {[llength $definitions] == 0} {
        stop "IP $ip is not in this Vivado's catalog; install the device family of $::part"
    }
    return [create_bd_cell -type ip -vlnv [lindex [lsort $definitions] end] $name]
}

proc drive {source args} {
    foreach sink $args {
        connect_bd_net [pin $source] [pin $sink]
    }
}

proc join_bus {master slave} {
    connect_bd_intf_net [bus $master] [bus $slave]
}

# The accelerator, a module reference. Its buses are inferred from the attributes in shifthw_top.v.
proc add_engine {} {
    create_bd_cell -type module -reference shifthw_top engine
    foreach name {s_axi m_axi} {
        if {[llength [get_bd_intf_pins -quiet engine/$name]] != 1} {
            stop "Vivado did not infer the bus $name of module shifthw_top; see the messages about shifthw_top.v above"
        }
    }
}

# Maps `segment` of the slave bus `slave` at `offset` into `space`. A segment's name is up to the IP: if it is not
# called what it was called in the versions we know, take the bus's one that matches `pattern`; if even that query is
# answered otherwise, let Vivado map what it finds and move it.
proc map_segment {space slave segment pattern offset range name} {
    set target [only [get_bd_addr_spaces $space] "address space $space"]
    set found [get_bd_addr_segs -quiet $segment]
    if {[llength $found] != 1} {
        set found [list]
        foreach candidate [get_bd_addr_segs -quiet -of_objects [bus $slave]] {
            if {[string match $pattern $candidate]} {
                lappend found $candidate
            }
        }
    }
    if {[llength $found] == 1} {
        create_bd_addr_seg -range $range -offset $offset $target [lindex $found 0] $name
        return
    }
    assign_bd_address
    set mapped [only [get_bd_addr_segs -quiet -of_objects $target] "segment in address space $space"]
    set_property offset $offset $mapped
    set_property range $range $mapped
}

# The processor's IO PLL may not give what was asked for; a driver that trusts settings.tcl must not be wrong.
proc check_clock {source} {
    set hertz [get_property CONFIG.FREQ_HZ [pin $source]]
    if {$hertz eq ""} {
        puts "shifthw: this Vivado does not tell the frequency of $source; not checked"
        return
    }
    if {abs($hertz / 1e6 - $::clock_mhz) > 0.001 * $::clock_mhz} {
        stop "clock: $source must be $::clock_mhz MHz, not [expr {$hertz / 1e6}]; choose another clock"
    }
}

proc make_block_design {} {
    create_bd_design system
    # add_processor tells the names of its ports: clock reset control memory interrupt segment.
    array set ps [add_processor]
    add_engine
    add_ip proc_sys_reset reset
    drive $ps(clock) reset/slowest_sync_clk engine/aclk
    drive $ps(reset) reset/ext_reset_in
    drive reset/peripheral_aresetn engine/aresetn

    add_interconnect control_bus $ps(clock)
    join_bus $ps(control) control_bus/S00_AXI
    join_bus control_bus/M00_AXI engine/s_axi

    add_interconnect memory_bus $ps(clock)
    join_bus engine/m_axi memory_bus/S00_AXI
    join_bus memory_bus/M00_AXI $ps(memory)

    # One line, so no concatenation block in between.
    drive engine/irq $ps(interrupt)

    if {$::constraints ne ""} {
        create_bd_port -dir O heartbeat
        connect_bd_net [pin engine/heartbeat] [get_bd_ports heartbeat]
    }

    map_segment ps/Data engine/s_axi engine/s_axi/reg0 * $::control_base $::control_bytes SEG_engine
    map_segment engine/m_axi $ps(memory) $ps(segment) *_DDR_LOW* $::ddr_base $::ddr_bytes SEG_memory

    validate_bd_design
    check_clock $ps(clock)
    save_bd_design
    generate_target all [get_files system.bd]
}
