# Block design of the stand-in: cells, pins, buses, nets, addresses; see vivado_stub.tcl. Paths begin with /.

namespace eval vivado {
    # Cell -> {ip ... config {...}}; a module's ip is module:<name>.
    variable cells [dict create]
    # Sink pin -> source pin; bus -> bus, both ways.
    variable driver [dict create]
    variable joined [dict create]
    # External ports: name -> direction; external buses.
    variable ports [dict create]
    variable bus_ports [list]
    # /cell/space/name -> {segment offset range}
    variable mapped [dict create]
    variable design ""
    variable validated 0
}

# What tests read: one line per cell, net, bus, address.
proc vivado::design_facts {} {
    variable cells
    variable driver
    variable joined
    variable mapped
    set facts [list]
    foreach {name cell} $cells {
        lappend facts "cell $name [dict get $cell vlnv]"
        foreach {key value} [dict get $cell config] {
            lappend facts "config $name $key $value"
        }
    }
    foreach {sink source} $driver {lappend facts "net $source $sink"}
    foreach {bus other} $joined {lappend facts "bus $bus $other"}
    foreach {name value} $mapped {lappend facts "address $name $value"}
    return $facts
}

# -- cells -----------------------------------------------------------------------------------

proc vivado::vlnv_of {ip} {
    variable option
    foreach {first version} [lindex [rows ip $ip] 0 0] {
        if {[package vcompare $option(release) $first] >= 0} {
            set newest $version
        }
    }
    return xilinx.com:ip:$ip:$newest
}

proc vivado::do_get_ipdefs {given rest} {
    if {![regexp {^VLNV =~ \*:ip:(\w+):\* && design_tool_contexts =~ \*IPI\* && UPGRADE_VERSIONS == ""$} \
            [get $given -filter] all ip]} {
        fail "get_ipdefs: cannot read the filter '[get $given -filter]'"
    }
    return [expr {[known ip $ip] ? [vlnv_of $ip] : ""}]
}

proc vivado::do_create_bd_design {given rest} {
    variable design [lindex $rest 0]
}

proc vivado::do_create_bd_cell {given rest} {
    variable cells
    variable design
    set name /[lindex $rest 0]
    if {$design eq "" || [dict exists $cells $name]} {
        fail "create_bd_cell: no design is open, or there is a cell $name"
    }
    if {[get $given -type] eq "module"} {
        set vlnv xilinx.com:module_ref:[get $given -reference]:1.0
        set ip module:[get $given -reference]
        infer_module [get $given -reference]
    } elseif {[get $given -type] eq "ip"} {
        set vlnv [get $given -vlnv]
        set ip [lindex [split $vlnv :] 2]
        if {![known ip $ip] || $vlnv ne [vlnv_of $ip]} {
            fail "create_bd_cell: '$vlnv' is not in the catalog"
        }
    } else {
        fail "create_bd_cell: -type must be ip or module, not '[get $given -type]'"
    }
    set defaults [dict create]
    foreach pair [words default $ip] {
        dict set defaults {*}[split $pair =]
    }
    dict set cells $name [dict create ip $ip vlnv $vlnv config $defaults]
    return $name
}

proc vivado::configure {cell property value} {
    variable cells
    set ip [dict get $cells $cell ip]
    if {![regexp {^CONFIG\.(.+)$} $property all name]} {
        fail "set_property: '$property' of $cell must begin with CONFIG."
    }
    check_word $name config $ip
    dict set cells $cell config $name $value
    if {$name eq "preset"} {
        foreach row [rows preset $ip] {
            if {[lindex $row 0] eq $value} {
                foreach pair [lindex $row 1] {
                    dict set cells $cell config {*}[split $pair =]
                }
                return
            }
        }
        fail "set_property: $ip has no preset '$value'"
    }
}

# Whether `conditions` (NAME=VALUE, NAME>=VALUE) hold for a cell.
proc vivado::holds {cell conditions} {
    variable cells
    foreach condition $conditions {
        regexp {^(\w+)(>?=)(.*)$} $condition all name relation value
        set have [get [dict get $cells $cell config] $name 0]
        if {$relation eq "=" ? $have ne $value : $have < $value} {
            return 0
        }
    }
    return 1
}

# -- objects ---------------------------------------------------------------------------------

# All pins: path -> {direction kind}. All buses: path -> mode.
proc vivado::objects {table} {
    variable cells
    set found [dict create]
    foreach {cell value} $cells {
        foreach row [rows $table [dict get $value ip]] {
            set fixed [expr {$table eq "pin" ? 2 : 1}]
            lassign [lrange $row $fixed end] members conditions
            if {[holds $cell $conditions]} {
                foreach member $members {
                    dict set found $cell/$member [lrange $row 0 $fixed-1]
                }
            }
        }
    }
    return $found
}

# Slave segments: path -> {bus bytes}. Master spaces: path -> {bus first bytes}.
proc vivado::address_objects {table} {
    variable cells
    variable option
    set found [dict create]
    foreach {cell value} $cells {
        foreach row [rows $table [dict get $value ip]] {
            if {$table eq "segment"} {
                lassign $row bus name bytes
                set name [file join [file dirname $name] $option(segments)[file tail $name]]
                dict set found $cell/$name [list $cell/$bus $bytes]
            } else {
                lassign $row name bus first bytes
                dict set found $cell/$name [list $cell/$bus $first $bytes]
            }
        }
    }
    return $found
}

proc vivado::find {what candidates given rest} {
    set path /[string trimleft [lindex $rest 0] /]
    if {$path in $candidates} {
        return [list $path]
    }
    if {![dict exists $given -quiet]} {
        fail "$what: there is no '$path'"
    }
    return {}
}

proc vivado::do_get_bd_pins {given rest} {find get_bd_pins [dict keys [objects pin]] $given $rest}
proc vivado::do_get_bd_intf_pins {given rest} {find get_bd_intf_pins [dict keys [objects bus]] $given $rest}
proc vivado::do_get_bd_ports {given rest} {
    variable ports
    find get_bd_ports [dict keys $ports] $given $rest
}
proc vivado::do_get_bd_intf_ports {given rest} {
    variable bus_ports
    find get_bd_intf_ports $bus_ports $given $rest
}
proc vivado::do_get_bd_addr_spaces {given rest} {
    find get_bd_addr_spaces [dict keys [address_objects space]] $given $rest
}

proc vivado::do_get_bd_addr_segs {given rest} {
    variable mapped
    set owner [get $given -of_objects]
    if {$owner eq ""} {
        return [find get_bd_addr_segs [concat [dict keys [address_objects segment]] [dict keys $mapped]] $given $rest]
    }
    set found [lsearch -all -inline [dict keys $mapped] $owner/*]
    foreach {segment value} [address_objects segment] {
        if {[lindex $value 0] eq $owner} {
            lappend found $segment
        }
    }
    return $found
}

# -- connections -----------------------------------------------------------------------------

proc vivado::do_create_bd_port {given rest} {
    variable ports
    dict set ports /[lindex $rest 0] [get $given -dir]
}

proc vivado::do_create_bd_intf_port {given rest} {
    variable bus_ports
    check_word [get $given -vlnv] values vlnv
    if {[get $given -mode] ne "Master"} {
        fail "create_bd_intf_port: -mode must be Master here"
    }
    lappend bus_ports /[lindex $rest 0]
}

proc vivado::do_connect_bd_net {given rest} {
    variable ports
    variable driver
    variable validated 0
    set pins [objects pin]
    set sources [list]
    set sinks [list]
    foreach path $rest {
        if {[dict exists $ports $path]} {
            set drives [expr {[dict get $ports $path] eq "I"}]
        } elseif {[dict exists $pins $path]} {
            set drives [expr {[lindex [dict get $pins $path] 0] eq "out"}]
        } else {
            fail "connect_bd_net: there is no '$path'"
        }
        lappend [expr {$drives ? "sources" : "sinks"}] $path
    }
    if {[llength $sources] != 1 || [llength $sinks] == 0} {
        fail "connect_bd_net: one pin must drive, others be driven: $rest"
    }
    foreach sink $sinks {
        if {[get $driver $sink $sources] ne $sources} {
            fail "connect_bd_net: $sink has two drivers"
        }
        dict set driver $sink [lindex $sources 0]
    }
}

proc vivado::do_connect_bd_intf_net {given rest} {
    variable bus_ports
    variable joined
    variable validated 0
    set buses [objects bus]
    set modes [list]
    foreach path $rest {
        # To a bus inside, an external bus is the other side.
        lappend modes [expr {$path in $bus_ports ? "slave" : [get $buses $path]}]
        if {[dict exists $joined $path]} {
            fail "connect_bd_intf_net: $path is connected already"
        }
    }
    if {[lsort $modes] ne {master slave}} {
        fail "connect_bd_intf_net: a master and a slave, not $modes: $rest"
    }
    dict set joined [lindex $rest 0] [lindex $rest 1]
    dict set joined [lindex $rest 1] [lindex $rest 0]
}

# -- properties ------------------------------------------------------------------------------

proc vivado::do_set_property {given rest} {
    variable cells
    variable project
    variable mapped
    variable devices
    variable programmed_with
    set pairs [expr {[dict exists $given -dict] ? [dict get $given -dict] : [lrange $rest 0 1]}]
    set object [lindex $rest end]
    foreach {name value} $pairs {
        if {[dict exists $cells $object]} {
            configure $object $name $value
        } elseif {[dict exists $mapped $object]} {
            check_word $name property segment
            lassign [dict get $mapped $object] segment offset range
            set $name $value
            dict set mapped $object [list $segment $offset $range]
        } elseif {$object eq "sources_1"} {
            check_word $name property fileset
            if {![dict exists $project wrapper] || $value ne "system_wrapper"} {
                fail "set_property: there is no module '$value'"
            }
            dict set project top $value
        } elseif {$object in {synth_1 impl_1}} {
            check_word $name property run
            check_word $value values $name
        } elseif {$object in $devices} {
            check_word $name property hw_device
            set programmed_with $value
        } else {
            fail "set_property: there is no object '$object'"
        }
    }
}

proc vivado::do_get_property {given rest} {
    variable option
    variable cells
    lassign $rest name object
    if {$object in {synth_1 impl_1}} {
        check_word $name property run
        return [run_property $object $name]
    }
    check_word $name property pin
    set config [dict get $cells [file dirname $object] config]
    foreach key {PCW_FPGA0_PERIPHERAL_FREQMHZ PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ} {
        if {[dict exists $config $key]} {
            return [expr {round([dict get $config $key] * 1e6 * $option(hertz))}]
        }
    }
    fail "get_property: $object has no frequency"
}
