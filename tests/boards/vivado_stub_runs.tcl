# Of the stand-in for Vivado: runs, reports, constraints; see vivado_stub.tcl.

# -- runs ------------------------------------------------------------------------------------

proc vivado::do_get_runs {given rest} {
    variable runs
    set name [lindex $rest 0]
    if {![dict exists $runs $name]} {
        fail "get_runs: there is no run '$name'"
    }
    return $name
}

proc vivado::do_reset_run {given rest} {
    variable runs
    dict set runs [do_get_runs {} $rest] idle
    dict set runs impl_1 idle
}

proc vivado::do_launch_runs {given rest} {
    variable runs
    variable project
    if {![string is integer -strict [get $given -jobs 1]]} {
        fail "launch_runs: -jobs must be a number"
    }
    if {[dict exists $given -to_step]} {
        check_word [dict get $given -to_step] values -to_step
    }
    foreach run $rest {
        do_get_runs {} $run
        if {[dict get $project top] ne "system_wrapper"} {
            fail "launch_runs: the top module must be system_wrapper, not '[dict get $project top]'"
        }
        if {$run eq "impl_1"} {
            if {![string match "done*" [dict get $runs synth_1]]} {
                fail "launch_runs: impl_1 before synth_1 is done"
            }
            check_constraints
        } elseif {[dict get $runs $run] ne "idle"} {
            fail "launch_runs: $run must be reset first"
        }
        dict set runs $run "launched [get $given -to_step]"
    }
}

proc vivado::do_wait_on_run {given rest} {
    variable runs
    variable option
    variable project
    set run [do_get_runs {} $rest]
    lassign [dict get $runs $run] state step
    if {$state ne "launched"} {
        fail "wait_on_run: $run was not launched"
    }
    if {$run eq $option(stop)} {
        dict set runs $run stopped
        return
    }
    dict set runs $run "done $step"
    if {$step eq "write_bitstream"} {
        write_bit [file_of [dict get $project name].runs $run system_wrapper.bit] [dict get $project part]
    }
}

# A bitstream's header, and of its contents nothing but the synchronisation word.
proc vivado::write_bit {path part} {
    touch $path
    set file [open $path wb]
    puts -nonewline $file [binary format H* 00090ff00ff00ff00ff0000001]
    foreach {tag text} [list a system_wrapper b [string range $part 2 end] c 2022/10/14 d 05:00:03] {
        puts -nonewline $file [binary format aSa*x $tag [expr {[string length $text] + 1}] $text]
    }
    puts -nonewline $file [binary format aIH* e 8 ffffffffaa995566]
    close $file
}

proc vivado::run_property {run name} {
    variable runs
    variable option
    set done [string match "done*" [dict get $runs $run]]
    switch $name {
        PROGRESS {return [expr {$done ? "100%" : "40%"}]}
        STATUS {return [expr {$done ? "route_design Complete!" : "route_design ERROR"}]}
        STATS.WNS {return [expr {$done ? $option(slack) : ""}]}
        default {return [expr {$done ? 0.0 : ""}]}
    }
}

proc vivado::do_open_run {given rest} {
    variable opened [do_get_runs {} $rest]
    variable runs
    if {![string match "done*" [dict get $runs $opened]]} {
        fail "open_run: $opened is not done"
    }
}

proc vivado::write_file {command given rest} {
    variable opened
    if {$opened eq "" && $command ne "write_hw_platform"} {
        fail "$command: no run is open"
    }
    set path [get $given -file [lindex $rest 0]]
    if {$path eq ""} {
        fail "$command: no file is named"
    }
    touch $path
}

foreach command {report_utilization report_timing_summary report_power write_hwdef write_sysdef write_hw_platform} {
    proc vivado::do_$command {given rest} "write_file $command \$given \$rest"
}

# Reads the constraints with only the commands that such a file may hold, then looks for unplaced ports.
proc vivado::check_constraints {} {
    variable project
    variable placed [dict create]
    set ports [dict get $project ports]
    foreach path [dict get $project constraints] {
        set box [interp create -safe]
        interp alias $box get_ports {} vivado::constraint_port $ports
        interp alias $box set_property {} vivado::constraint_property
        interp alias $box set_false_path {} vivado::constraint_path
        interp eval $box [read [set file [open $path r]]]
        close $file
        interp delete $box
    }
    foreach port $ports {
        lassign [get $placed $port] pin standard
        if {[words part [dict get $project part]] eq "" || $standard eq ""
            || [get [words part [dict get $project part]] $pin] ne $standard} {
            fail "constraints: port $port at '$pin', '$standard' is no LED of [dict get $project part]"
        }
    }
}

proc vivado::constraint_port {ports name} {
    if {$name ni $ports} {
        fail "constraints: there is no port '$name'"
    }
    return $name
}

proc vivado::constraint_property {name value port} {
    variable placed
    check_word $name property port
    lassign [get $placed $port] pin standard
    if {$name eq "PACKAGE_PIN"} {set pin $value} else {set standard $value}
    dict set placed $port [list $pin $standard]
}

proc vivado::constraint_path {option port} {
    if {$option ni {-from -to -through}} {
        fail "constraints: set_false_path has no option $option"
    }
}
