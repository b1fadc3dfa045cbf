# Makes the Vivado project of this folder, in project/: sources, block design, constraints.
# Vivado 2018.3 or later: vivado -mode batch -source create_project.tcl
# Board files are not needed.

set here [file normalize [file dirname [info script]]]
source [file join $here settings.tcl]
source [file join $here block_design_$family.tcl]
source [file join $here block_design.tcl]

create_project $project_name [file join $here project] -part $part -force

set sources [list [file join $here shifthw_top.v]]
foreach name $engine_files {
    lappend sources [file join $here $name]
}
add_files -norecurse $sources
if {$constraints ne ""} {
    add_files -fileset constrs_1 -norecurse [file join $here $constraints]
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
