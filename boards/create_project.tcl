# Makes the Vivado project of this folder, in project/: sources, block design, constraints.
# Vivado 2018.3 or later: vivado -mode batch -source create_project.tcl
# Board files are not needed.

set here [file normalize [file dirname [info script]]]
source [file join $here settings.tcl]
source [file join $here results.tcl]
source [file join $here block_design_$family.tcl]
source [file join $here block_design.tcl]

# The free editions of Vivado do not list every part of every family, and an installation holds the families chosen
# for it.
if {[llength [get_parts -quiet $part]] == 0} {
    stop "part $part is not in this Vivado: add its device family with the installer, or use an edition and a\
        licence that cover it"
}
if {[string match xc7z045* $part]} {
    puts "shifthw: note: $part is reported to need a licence, the free editions do not cover it"
}

remove_results
create_project $project_name [file join $here project] -part $part -force

set sources [list [file join $here shifthw_top.v]]
foreach name $engine_files {
    lappend sources [file join $here $name]
}
add_files -norecurse $sources
if {$constraints ne ""} {
    add_files -fileset constrs_1 -norecurse [list [file join $here $constraints]]
}
update_compile_order -fileset sources_1

make_block_design

make_wrapper -files [get_files system.bd] -top -import
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1

# Both strategies are there for either family; they trade run time for timing.
set_property strategy Flow_PerfOptimized_high [get_runs synth_1]
set_property strategy Performance_ExtraTimingOpt [get_runs impl_1]

puts "shifthw: project $project_name is ready"
