# Loads out/<name>.bit into the board over JTAG: vivado -mode batch -source program.tcl

set here [file normalize [file dirname [info script]]]
source [file join $here settings.tcl]
source [file join $here results.tcl]

set bitstream [file join $out $project_name.bit]
if {![file isfile $bitstream]} {
    error "shifthw: there is no out/$project_name.bit: make bitstream first"
}
puts "shifthw: note: the processor must have been started by its boot loader, or by ps7_init or psu_init:\
    it gives the clock and connects the programmable logic"
puts "shifthw: note: under a running Linux leave this alone, the driver in ../driver loads the bitstream itself"

# The device on the JTAG chain is called by its die and a number: xc7z045_1, xczu3_0, in some versions xczu3eg_0.
regexp {^xc(?:7z|zu)\d+} $part die

# A patched version reads 2018.3_AR71948.
regexp {^\d+\.\d+} [version -short] release
if {[package vcompare $release 2019.2] >= 0} {
    open_hw_manager
} else {
    open_hw
}
connect_hw_server
open_hw_target
set found [get_hw_devices -quiet]
set names [lsearch -all -inline -regexp $found "^${die}\[a-z\]*(_\\d+)+\$"]
if {[llength $names] != 1} {
    error "shifthw: there must be one $die on the JTAG chain, not [llength $names] among '$found': is the board on,\
        is its cable the only one?"
}
# Vivado's commands want the object, not its name.
set device [get_hw_devices [lindex $names 0]]
current_hw_device $device
set_property PROGRAM.FILE $bitstream $device
program_hw_devices $device
close_hw_target
disconnect_hw_server
puts "shifthw: $device holds out/$project_name.bit"
