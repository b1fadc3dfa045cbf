# EXPERIMENTAL, for nextpnr-xilinx. GPIO_LED_0 blinks while the accelerator's clock runs. The LEDs at Y21 and W21 are in
# banks that the open database does not hold. There is no create_clock: open_flow.mk gives the frequency to --freq.
set_property PACKAGE_PIN A17 [get_ports heartbeat]
set_property IOSTANDARD LVCMOS15 [get_ports heartbeat]
