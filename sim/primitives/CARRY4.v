// Function of the Xilinx 7 series primitive: at each place S hands the carry on, else DI is the new carry. The
// carry in is CI or CYINIT; the one not used is 0. Written as the addition that it is: simulates in one step.
module CARRY4 (
    input  wire       CI,
    input  wire       CYINIT,
    input  wire [3:0] DI,
    input  wire [3:0] S,
    output wire [3:0] O,
    output wire [3:0] CO
);
    wire [3:0] generated = DI & ~S;
    wire [4:0] sum = {1'b0, S | generated} + {1'b0, generated} + {4'b0, CI | CYINIT};
    assign O = sum[3:0];
    assign CO = {sum[4], sum[3:1] ^ S[3:1]};
endmodule
