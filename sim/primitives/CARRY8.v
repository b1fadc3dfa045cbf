// Function of the Xilinx UltraScale primitive: at each place S hands the carry on, else DI is the new carry. With
// CARRY_TYPE "DUAL_CY4" the upper four places are a chain of their own, from CI_TOP. Written as the addition that it
// is: simulates in one step.
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
    wire [7:0] either = S | generated;
    wire [4:0] low = {1'b0, either[3:0]} + {1'b0, generated[3:0]} + {4'b0, CI};
    wire middle = CARRY_TYPE == "DUAL_CY4" ? CI_TOP : low[4];
    wire [4:0] high = {1'b0, either[7:4]} + {1'b0, generated[7:4]} + {4'b0, middle};
    assign O = {high[3:0], low[3:0]};
    assign CO = {high[4], high[3:1] ^ S[7:5], low[4], low[3:1] ^ S[3:1]};
endmodule
