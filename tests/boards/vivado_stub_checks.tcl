# Of the stand-in for Vivado: addresses, and what validation looks at; see vivado_stub.tcl.

# -- addresses -------------------------------------------------------------------------------

proc vivado::do_create_bd_addr_seg {given rest} {
    variable validated 0
    variable mapped
    lassign $rest space segment name
    if {![dict exists [address_objects space] $space] || ![dict exists [address_objects segment] $segment]} {
        fail "create_bd_addr_seg: there is no space '$space' or segment '$segment'"
    }
    dict set mapped $space/$name [list $segment [get $given -offset] [get $given -range]]
}

# Maps what is reachable at an address of its own choice.
proc vivado::do_assign_bd_address {given rest} {
    variable mapped
    foreach {space where} [address_objects space] {
        foreach {segment value} [address_objects segment] {
            set taken [lmap one [dict values $mapped] {lindex $one 0}]
            if {[reaches [lindex $where 0] [lindex $value 0]] && $segment ni $taken} {
                dict set mapped $space/SEG_[string map {/ _} $segment] \
                    [list $segment [expr {[lindex $where 1] + 0x10000}] 0x10000]
            }
        }
    }
}

# Whether a master bus leads to a slave bus, through one interconnect or none.
proc vivado::reaches {master slave} {
    variable joined
    set next [get $joined $master]
    return [expr {$next eq $slave || [get $joined [file dirname $next]/M00_AXI] eq $slave}]
}

proc vivado::address_errors {} {
    variable mapped
    set errors [list]
    foreach {space where} [address_objects space] {
        lassign $where master first bytes
        set inside [dict filter $mapped key $space/*]
        if {[dict size $inside] == 0} {
            lappend errors "address space $space: no segment is assigned"
        }
        foreach {name value} $inside {
            lassign $value segment offset range
            lassign [dict get [address_objects segment] $segment] slave size
            if {![string is integer -strict $range] && ![string is wideinteger -strict $range]
                || $range < 4096 || $range > $size || $range & ($range - 1) || $offset % $range
                || $offset < $first || $offset + $range > $first + $bytes} {
                lappend errors "address $name: offset $offset, range $range do not fit in $size bytes at $first"
            }
            if {![reaches $master $slave]} {
                lappend errors "address $name: $master does not reach $slave"
            }
        }
    }
    return $errors
}

# -- checks ----------------------------------------------------------------------------------

# Where a pin's signal must come from: clocks from clocks, resets from resets.
proc vivado::pin_errors {} {
    variable driver
    set errors [list]
    set pins [objects pin]
    foreach {path value} $pins {
        lassign $value direction kind
        if {$direction eq "out" || $kind eq "open"} {
            continue
        }
        set source [get $driver $path]
        if {[lindex [get $pins $source] 1] ne $kind} {
            lappend errors "$kind pin $path: must be driven by a $kind, not '$source'"
        }
    }
    return $errors
}

proc vivado::do_validate_bd_design {given rest} {
    variable validated
    variable joined
    variable ports
    variable driver
    set errors [concat [pin_errors] [address_errors]]
    foreach bus [dict keys [objects bus]] {
        if {![dict exists $joined $bus]} {
            lappend errors "bus $bus: not connected"
        }
    }
    foreach {port direction} $ports {
        if {$direction eq "O" && ![dict exists $driver $port]} {
            lappend errors "port $port: not driven"
        }
    }
    if {[llength $errors]} {
        fail [join $errors "\n"]
    }
    set validated 1
}

proc vivado::need_validated {command} {
    variable validated
    if {!$validated} {
        fail "$command: the block design is not validated"
    }
}

proc vivado::do_save_bd_design {given rest} {
    need_validated save_bd_design
}

proc vivado::do_get_files {given rest} {
    variable design
    if {[lindex $rest 0] ne "$design.bd"} {
        fail "get_files: there is no '[lindex $rest 0]'"
    }
    return $design.bd
}

proc vivado::do_generate_target {given rest} {
    variable option
    variable project
    need_validated generate_target
    set tree [expr {[package vcompare $option(release) 2020.2] >= 0 ? "gen" : "srcs"}]
    touch [file_of [dict get $project name].$tree sources_1 bd system hw_handoff system.hwh]
}

proc vivado::do_make_wrapper {given rest} {
    variable project
    variable ports
    need_validated make_wrapper
    if {![dict exists $given -import] || [get $given -files] eq ""} {
        fail "make_wrapper: -import and -files are missing"
    }
    dict set project ports [lmap port [dict keys $ports] {string trimleft $port /}]
    dict set project wrapper 1
}
