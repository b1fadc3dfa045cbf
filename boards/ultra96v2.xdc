# RADIO_LED0 (D9) blinks while the accelerator's clock runs.
set_property PACKAGE_PIN A9 [get_ports heartbeat]
set_property IOSTANDARD LVCMOS18 [get_ports heartbeat]
set_false_path -to [get_ports heartbeat]
