// Function of the Xilinx UltraScale primitive with CARRY_TYPE "SINGLE_CY8": at each place S hands the carry on,
// else DI is the new carry. Written as the addition that it is: simulates in one step.
module CARRY8 #(
    parameter CARRY_TYPE = "SINGLE_CY8"
) (
    input  wire       CI,
    input  wire       CI_TOP,
    input  wire [7:0] DI,
    input  wire [7:0] S,
    output wire [7:0] O,
    output wire [7:0] CO
);
    wire [7:0] generated = DI & ~S;
    wire [8:0] sum = {1'b0, S | generated} + {1'b0, generated} + {8'b0, CI};
    assign O = sum[7:0];
    assign CO = {sum[8], sum[7:1] ^ S[7:1]};
endmodule
