# A stand-in for Vivado that knows names, not hardware: tclsh vivado_stub.tcl [name value ...] -- <Vivado's arguments>.
# It runs a script with Vivado's commands replaced; whatever vivado_names.tsv does not hold stops the script, as
# does what cannot be right in any design: a clock, reset or bus left open, an address outside its window.
# It does not prove that Vivado accepts the design; legal values, timing and design rules are Vivado's alone.
#
# Options: release 2022.2; stop <run>: that run fails; slack <ns>: setup slack; hertz <factor>: of the clock got over
# the clock asked for; segments <prefix>: address segments are called otherwise; inference 0: no buses of modules;
# parts 0: no part is installed; devices <list>: what is on the JTAG chain.

namespace eval vivado {
    variable option
    array set option {release 2022.2 stop none slack 0.123 hertz 0.99999 segments "" inference 1 parts 1 devices ""}
    variable names [dict create]
    # Of the project: folder, part, sources, constraints; and of its state: run progress, top, validated.
    variable project [dict create]
    variable runs [dict create]
    variable opened ""
}

proc vivado::fail {message} {
    error "vivado: $message"
}

# -- the table of names -------------------------------------------------------------------------

proc vivado::read_names {path} {
    variable names
    set file [open $path r]
    foreach line [split [read $file] \n] {
        if {$line ne "" && ![string match "#*" $line]} {
            set fields [split $line \t]
            dict lappend names [lindex $fields 0] [lrange $fields 1 end]
        }
    }
    close $file
}

# Rows of a kind whose first field is `key`, that field left out.
proc vivado::rows {kind key} {
    variable names
    set found [list]
    foreach row [dict get $names $kind] {
        if {[lindex $row 0] eq $key} {
            lappend found [lrange $row 1 end]
        }
    }
    return $found
}

proc vivado::known {kind key} {
    return [llength [rows $kind $key]]
}

# All words in the last field of the rows.
proc vivado::words {kind key} {
    set found [list]
    foreach row [rows $kind $key] {
        lappend found {*}[lindex $row end]
    }
    return $found
}

proc vivado::check_word {word kind key} {
    if {$word ni [words $kind $key]} {
        fail "$kind of $key: '$word' is not known"
    }
}

proc vivado::in_release {range} {
    variable option
    if {$range eq ""} {
        return 1
    }
    lassign [split [string map {.. |} $range] |] first last
    return [expr {($first eq "" || [package vcompare $option(release) $first] >= 0)
        && ($last eq "" || [package vcompare $option(release) $last] <= 0)}]
}

# -- commands -------------------------------------------------------------------------------

# Each command of the table becomes a Tcl command that checks its options and calls vivado::do_<name>.
proc vivado::declare_commands {} {
    variable names
    foreach row [dict get $names command] {
        lassign $row name fewest most options releases
        if {[in_release $releases]} {
            interp alias {} ::$name {} vivado::run_command $name $fewest $most $options
        }
    }
}

proc vivado::run_command {name fewest most options args} {
    set given [dict create]
    set rest [list]
    while {[llength $args]} {
        set args [lassign $args word]
        if {[regexp {^-[a-z_]+$} $word]} {
            if {"$word=" in $options} {
                if {[llength $args] == 0} {
                    fail "$name: option $word needs a value"
                }
                set args [lassign $args value]
                dict set given $word $value
            } elseif {$word in $options} {
                dict set given $word 1
            } else {
                fail "$name: option $word is not known"
            }
        } else {
            lappend rest $word
        }
    }
    if {[llength $rest] < $fewest || [llength $rest] > $most} {
        fail "$name: takes $fewest to $most arguments, not [llength $rest]"
    }
    return [do_$name $given $rest]
}

proc vivado::get {given name {default ""}} {
    # Not by expr, which would turn 0x10 into 16.
    if {[dict exists $given $name]} {
        return [dict get $given $name]
    }
    return $default
}

# -- project ---------------------------------------------------------------------------------

proc vivado::file_of {args} {
    variable project
    return [file join [dict get $project folder] {*}$args]
}

proc vivado::touch {path} {
    file mkdir [file dirname $path]
    close [open $path w]
}

# The project's file holds the state, one fact per line: what the next script opens and what tests read.
proc vivado::save_project {} {
    variable project
    variable runs
    file mkdir [dict get $project folder]
    set file [open [file_of [dict get $project name].xpr] w]
    puts $file "project $project"
    puts $file "runs $runs"
    foreach fact [design_facts] {
        puts $file "fact $fact"
    }
    close $file
}

proc vivado::do_create_project {given rest} {
    variable project
    variable runs
    lassign $rest name folder
    if {![known part [get $given -part]]} {
        fail "create_project: part '[get $given -part]' is not known"
    }
    if {[file exists $folder]} {
        if {![dict exists $given -force]} {
            fail "create_project: $folder exists; -force is missing"
        }
        file delete -force $folder
    }
    set project [dict create name $name folder $folder part [get $given -part] sources {} constraints {} top {}]
    set runs [dict create synth_1 idle impl_1 idle]
    save_project
}

proc vivado::do_get_parts {given rest} {
    variable option
    set found [expr {$option(parts) && [known part [lindex $rest 0]] ? $rest : ""}]
    if {$found eq "" && ![dict exists $given -quiet]} {
        fail "get_parts: there is no '$rest'"
    }
    return $found
}

proc vivado::do_open_project {given rest} {
    variable project
    variable runs
    set file [open [lindex $rest 0] r]
    foreach line [split [read $file] \n] {
        switch -glob $line {
            "project *" {set project [lrange $line 1 end]}
            "runs *" {set runs [lrange $line 1 end]}
        }
    }
    close $file
}

proc vivado::do_add_files {given rest} {
    variable project
    set key [expr {[get $given -fileset sources_1] eq "constrs_1" ? "constraints" : "sources"}]
    foreach path [lindex $rest 0] {
        if {![file isfile $path]} {
            fail "add_files: there is no file '$path'"
        }
        dict lappend project $key $path
    }
}

proc vivado::do_update_compile_order {given rest} {}

proc vivado::do_current_fileset {given rest} {
    return sources_1
}

proc vivado::do_version {given rest} {
    variable option
    # With a patch installed there is more behind the number.
    return $option(release)_AR71948
}

# -- start -----------------------------------------------------------------------------------

# Vivado's own command line; returns the script.
proc vivado::read_arguments {arguments} {
    set script ""
    while {[llength $arguments]} {
        set arguments [lassign $arguments word]
        switch -- $word {
            -mode - -log {set arguments [lassign $arguments value]}
            -source {set arguments [lassign $arguments script]}
            -notrace - -nojournal {}
            -tclargs {
                set ::argv $arguments
                return $script
            }
            default {fail "option $word is not known"}
        }
        if {$word eq "-log"} {
            touch $value
        }
    }
    set ::argv {}
    return $script
}

proc vivado::start {arguments} {
    variable option
    variable project
    set split [lsearch -exact $arguments --]
    foreach {name value} [lrange $arguments 0 $split-1] {
        set option($name) $value
    }
    set folder [file dirname [file normalize [info script]]]
    foreach part {modules design checks runs hardware} {
        uplevel #0 [list source [file join $folder vivado_stub_$part.tcl]]
    }
    read_names [file join $folder vivado_names.tsv]
    declare_commands
    set script [read_arguments [lrange $arguments $split+1 end]]
    if {[catch {uplevel #0 [list source $script]} message]} {
        puts stderr "ERROR: $message"
        exit 1
    }
    if {[dict size $project]} {
        save_project
    }
}

vivado::start $argv
