# Of the stand-in for Vivado: what it infers of a module reference; see vivado_stub.tcl.

# -- modules ---------------------------------------------------------------------------------

# Ports of a module with the X_INTERFACE attributes before them: list of {name direction bits info parameter}.
proc vivado::module_ports {module} {
    variable project
    foreach path [dict get $project sources] {
        set text [read [set file [open $path r]]]
        close $file
        if {![regexp "\\mmodule\\s+$module\\M" $text]} {
            continue
        }
        set found [list]
        set info ""
        set parameter ""
        foreach line [split $text \n] {
            regexp {X_INTERFACE_INFO = "([^"]*)"} $line all info
            regexp {X_INTERFACE_PARAMETER = "([^"]*)"} $line all parameter
            if {[regexp {^\s*(input|output)\s+wire\s+(?:\[(.*):0\]\s*)?(\w+)} $line all direction high name]} {
                lappend found [list $name [string map {put ""} $direction] $high $info $parameter]
                set info ""
                set parameter ""
            }
        }
        return $found
    }
    fail "create_bd_cell: no source holds module '$module'"
}

# Adds what Vivado would infer of a module to the table of names, under the IP name module:<name>.
proc vivado::infer_module {module} {
    variable names
    variable option
    set ip module:$module
    foreach port [module_ports $module] {
        lassign $port name direction high info parameter
        switch -glob $info {
            "*:signal:clock:*" {set kind clock; set clocked $parameter}
            "*:signal:reset:*" {set kind reset}
            "*:signal:interrupt:*" {set kind interrupt}
            "*:interface:aximm:*" {
                lassign [lrange $info 1 2] bus signal
                dict set buses $bus $signal [list $direction $high]
                continue
            }
            default {set kind open}
        }
        dict lappend names pin [list $ip $direction $kind $name]
    }
    if {!$option(inference)} {
        return
    }
    foreach {bus signals} $buses {
        set mode [check_bus $bus $signals]
        if {![regexp "ASSOCIATED_BUSIF (\\w+:)*${bus}\\M" $clocked]} {
            fail "module $module: bus $bus has no clock"
        }
        dict lappend names bus [list $ip $mode $bus]
        if {$mode eq "slave"} {
            set bits [expr {[lindex [dict get $signals AWADDR] 1] + 1}]
            dict lappend names segment [list $ip $bus $bus/reg0 [expr {1 << $bits}]]
        } else {
            dict lappend names space [list $ip $bus $bus 0 0x100000000]
        }
    }
}

# Mode of an AXI bus; an error if signals are missing or point the wrong way.
proc vivado::check_bus {bus signals} {
    foreach {channel answers} {AW 0 W 0 B 1 AR 0 R 1} {
        foreach signal {VALID READY} {
            if {![dict exists $signals $channel$signal]} {
                fail "bus $bus: there is no $channel$signal"
            }
        }
    }
    set mode [expr {[lindex [dict get $signals AWADDR] 0] eq "out" ? "master" : "slave"}]
    foreach {signal port} $signals {
        # From master to slave, but for READY, and the channels B and R.
        set backward [expr {[string match *READY $signal] ^ [regexp {^(B|R)(RESP|DATA|LAST|VALID|READY)$} $signal]}]
        if {([lindex $port 0] eq "out") != (($mode eq "master") ^ $backward)} {
            fail "bus $bus: $signal points the wrong way"
        }
    }
    return $mode
}
