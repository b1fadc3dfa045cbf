# GPIO_LED_0 blinks while the accelerator's clock runs.
set_property PACKAGE_PIN A17 [get_ports heartbeat]
set_property IOSTANDARD LVCMOS15 [get_ports heartbeat]
set_false_path -to [get_ports heartbeat]
