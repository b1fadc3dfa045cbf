# Synthesis, implementation, reports and bitstream of the project that create_project.tcl made; results in out/,
# bitstream and hardware handoff also in ../driver, which holds none of them unless everything succeeds.
# vivado -mode batch -source implement.tcl [-tclargs jobs]

set here [file normalize [file dirname [info script]]]
source [file join $here settings.tcl]
source [file join $here results.tcl]
set jobs [expr {[llength $argv] ? [lindex $argv 0] : 2}]

proc finish {run} {
    wait_on_run $run
    set progress [get_property PROGRESS [get_runs $run]]
    if {$progress ne "100%"} {
        error "shifthw: $run stopped at $progress: [get_property STATUS [get_runs $run]];\
            see project/$::project_name.runs/$run/runme.log, which also tells if a licence for $::part is missing"
    }
}

# Slack in ns; WNS is setup, WHS hold, TPWS pulse width (a total, 0 if all are met).
proc check_timing {run} {
    foreach name {WNS WHS TPWS} {
        set slack [get_property STATS.$name [get_runs $run]]
        if {![string is double -strict $slack]} {
            error "shifthw: $run has no result for $name but '$slack'"
        }
        if {$slack < 0} {
            error "shifthw: timing is not met: $name is $slack ns at $::clock_mhz MHz;\
                choose a slower clock; see out/timing.rpt"
        }
    }
}

set project [file join $here project]
remove_results
file mkdir $out

open_project [file join $project $project_name.xpr]
# Runs that an interrupted build left behind would be refused.
reset_run synth_1
launch_runs synth_1 -jobs $jobs
finish synth_1
launch_runs impl_1 -jobs $jobs
finish impl_1

open_run impl_1
report_utilization -file [file join $out utilization.rpt]
report_utilization -hierarchical -file [file join $out utilization_hierarchical.rpt]
report_timing_summary -file [file join $out timing.rpt]
report_power -file [file join $out power.rpt]
check_timing impl_1

launch_runs impl_1 -to_step write_bitstream -jobs $jobs
finish impl_1

# What the board needs: the bitstream and the hardware handoff, whose place has moved in 2020.2.
set bitstream [file join $project $project_name.runs impl_1 system_wrapper.bit]
file copy -force $bitstream [file join $out $project_name.bit]
set handoffs [list]
foreach tree {gen srcs} {
    set sources [file join $project $project_name.$tree sources_1]
    lappend handoffs {*}[glob -nocomplain [file join $sources bd system hw_handoff system.hwh]]
}
if {[llength $handoffs] == 0} {
    error "shifthw: no system.hwh in $project; was the block design generated?"
}
file copy -force [lindex $handoffs 0] [file join $out $project_name.hwh]

# What other AMD tools need: XSA since 2019.2, HDF before. A patched version reads 2018.3_AR71948.
regexp {^\d+\.\d+} [version -short] release
if {[package vcompare $release 2019.2] >= 0} {
    write_hw_platform -fixed -force -include_bit -file [file join $out $project_name.xsa]
} else {
    set definition [file join $out $project_name.hwdef]
    write_hwdef -force -file $definition
    write_sysdef -hwdef $definition -bitfile $bitstream -file [file join $out $project_name.hdf]
}
hand_to_driver
puts "shifthw: out/$project_name.bit, also in ../driver, meets timing at [format %g $clock_mhz] MHz"
