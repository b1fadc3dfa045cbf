# Of the stand-in for Vivado: the hardware manager; see vivado_stub.tcl.

namespace eval vivado {
    # How far a script has come: closed, manager, server, target.
    variable link closed
    # On the chain, once a target is open; the current one; the file it is to be programmed with.
    variable devices [list]
    variable current ""
    variable programmed_with ""
}

# From one state of the link to the next, in this order only.
proc vivado::advance {command from to} {
    variable link
    if {$link ne $from} {
        fail "$command: the link is at '$link', not at '$from'"
    }
    set link $to
}

proc vivado::do_open_hw {given rest} {advance open_hw closed manager}
proc vivado::do_open_hw_manager {given rest} {advance open_hw_manager closed manager}
proc vivado::do_connect_hw_server {given rest} {advance connect_hw_server manager server}

proc vivado::do_open_hw_target {given rest} {
    variable option
    variable devices
    advance open_hw_target server target
    set devices $option(devices)
    if {[llength $devices] == 0} {
        fail "open_hw_target: there is no target"
    }
}

proc vivado::do_close_hw_target {given rest} {
    variable devices [list]
    advance close_hw_target target server
}

proc vivado::do_disconnect_hw_server {given rest} {advance disconnect_hw_server server manager}

proc vivado::do_get_hw_devices {given rest} {
    variable devices
    if {[llength $rest] == 0} {
        return $devices
    }
    set found [lsearch -all -inline -glob $devices [lindex $rest 0]]
    if {[llength $found] == 0 && ![dict exists $given -quiet]} {
        fail "get_hw_devices: there is no '$rest'"
    }
    return $found
}

proc vivado::do_current_hw_device {given rest} {
    variable devices
    variable current
    if {[llength $rest]} {
        if {[lindex $rest 0] ni $devices} {
            fail "current_hw_device: there is no '$rest'"
        }
        set current [lindex $rest 0]
    }
    return $current
}

proc vivado::do_program_hw_devices {given rest} {
    variable current
    variable programmed_with
    if {[lindex $rest 0] ne $current || ![file isfile $programmed_with]} {
        fail "program_hw_devices: '$rest' is not the current device, or there is no file '$programmed_with'"
    }
    puts "programmed $current with $programmed_with"
}
