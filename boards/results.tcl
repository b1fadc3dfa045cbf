# Where results are: out/ beside the scripts, and the folder of the build's driver, which a board gets as a whole.

set out [file join $here out]
set driver [file join [file dirname $here] driver]

# A driver loads what it finds beside it, so nothing of an earlier project or run may stay there.
proc remove_results {} {
    file delete -force $::out
    foreach suffix {bit hwh bin} {
        file delete -force [file join $::driver $::project_name.$suffix]
    }
}

# PYNQ wants the handoff under the bitstream's name, in the same folder.
proc hand_to_driver {} {
    file mkdir $::driver
    foreach suffix {bit hwh} {
        file copy -force [file join $::out $::project_name.$suffix] $::driver
    }
}
