// A small design with the engine's ports and registers, to test the runner itself: after START it copies
// BATCHES pages of BEATS beats from the input to the output buffer and inverts every bit on the way.
module copier #(parameter BEATS = 4) (
    input wire clk, input wire rst, output wire irq,
    input wire [11:0] s_axi_awaddr, input wire s_axi_awvalid, output wire s_axi_awready,
    input wire [31:0] s_axi_wdata, input wire [3:0] s_axi_wstrb, input wire s_axi_wvalid, output wire s_axi_wready,
    output wire [1:0] s_axi_bresp, output reg s_axi_bvalid, input wire s_axi_bready,
    input wire [11:0] s_axi_araddr, input wire s_axi_arvalid, output wire s_axi_arready,
    output reg [31:0] s_axi_rdata, output wire [1:0] s_axi_rresp, output reg s_axi_rvalid, input wire s_axi_rready,
    output reg [31:0] m_axi_awaddr, output wire [7:0] m_axi_awlen, output wire [2:0] m_axi_awsize,
    output wire [1:0] m_axi_awburst, output reg m_axi_awvalid, input wire m_axi_awready,
    output wire [63:0] m_axi_wdata, output wire [7:0] m_axi_wstrb, output wire m_axi_wlast, output wire m_axi_wvalid,
    input wire m_axi_wready, input wire [1:0] m_axi_bresp, input wire m_axi_bvalid, output wire m_axi_bready,
    output reg [31:0] m_axi_araddr, output wire [7:0] m_axi_arlen, output wire [2:0] m_axi_arsize,
    output wire [1:0] m_axi_arburst, output reg m_axi_arvalid, input wire m_axi_arready,
    input wire [63:0] m_axi_rdata, input wire [1:0] m_axi_rresp, input wire m_axi_rlast, input wire m_axi_rvalid,
    output wire m_axi_rready);

    localparam [2:0] IDLE = 0, PROGRAM = 1, READ = 2, WRITE = 3, ANSWER = 4;
    reg [2:0] state;
    reg loaded, done, error;
    reg [31:0] program_address, input_address, output_address, batches, cycles, stalls, batches_done;
    reg [7:0] beat;
    reg [63:0] buffer [0:BEATS-1];

    // AXI4-Lite: one access at a time, address and data of a write taken together.
    wire writing = s_axi_awvalid && s_axi_wvalid && !s_axi_bvalid;
    assign s_axi_awready = writing;
    assign s_axi_wready = writing;
    assign s_axi_bresp = 0;
    assign s_axi_arready = s_axi_arvalid && !s_axi_rvalid;
    assign s_axi_rresp = 0;
    assign irq = done;

    assign m_axi_arlen = BEATS - 1;
    assign m_axi_arsize = 3;
    assign m_axi_arburst = 1;
    assign m_axi_awlen = BEATS - 1;
    assign m_axi_awsize = 3;
    assign m_axi_awburst = 1;
    assign m_axi_rready = state == PROGRAM || state == READ;
    assign m_axi_wdata = ~buffer[beat];
    assign m_axi_wstrb = 8'hff;
    assign m_axi_wlast = beat == BEATS - 1;
    assign m_axi_wvalid = state == WRITE;
    assign m_axi_bready = state == ANSWER;

    always @(posedge clk) begin
        if (s_axi_bready) s_axi_bvalid <= 0;
        if (s_axi_rready) s_axi_rvalid <= 0;
        if (m_axi_arready) m_axi_arvalid <= 0;
        if (m_axi_awready) m_axi_awvalid <= 0;
        if (state == READ || state == WRITE || state == ANSWER) begin
            cycles <= cycles + 1;
            if (!(m_axi_rvalid && m_axi_rready) && !(m_axi_wvalid && m_axi_wready)) stalls <= stalls + 1;
        end
        if (writing) begin
            s_axi_bvalid <= 1;
            case (s_axi_awaddr)
                12'h020: program_address <= s_axi_wdata;
                12'h028: input_address <= s_axi_wdata;
                12'h02C: output_address <= s_axi_wdata;
                12'h030: batches <= s_axi_wdata;
                12'h00C: if (s_axi_wdata[0]) begin
                    state <= PROGRAM; m_axi_araddr <= program_address; m_axi_arvalid <= 1;
                end else if (s_axi_wdata[1]) begin
                    state <= READ; m_axi_araddr <= input_address; m_axi_arvalid <= 1;
                    m_axi_awaddr <= output_address; beat <= 0; done <= 0; cycles <= 0; stalls <= 0; batches_done <= 0;
                end
                default: ;
            endcase
        end
        if (s_axi_arready) begin
            s_axi_rvalid <= 1;
            case (s_axi_araddr)
                12'h000: s_axi_rdata <= 32'h5348_5731;
                12'h008: s_axi_rdata <= 32'h1234_5678;
                12'h010: s_axi_rdata <= {28'd0, error, done, loaded, state == IDLE};
                12'h014: s_axi_rdata <= error ? 3 : 0;
                12'h040: s_axi_rdata <= cycles;
                12'h048: s_axi_rdata <= stalls;
                12'h050: s_axi_rdata <= 2 * BEATS;
                12'h054: s_axi_rdata <= batches_done;
                default: s_axi_rdata <= 0;
            endcase
        end
        case (state)
            PROGRAM: if (m_axi_rvalid) begin
                error <= error || m_axi_rdata[7:0] == 8'hEE;     // the program's way to ask for an error
                if (m_axi_rlast) begin state <= IDLE; loaded <= 1; end
            end
            READ: if (m_axi_rvalid) begin
                buffer[beat] <= m_axi_rdata;
                beat <= m_axi_rlast ? 0 : beat + 1;
                if (m_axi_rlast) begin state <= WRITE; m_axi_awvalid <= 1; end
            end
            WRITE: if (m_axi_wready) begin
                beat <= m_axi_wlast ? 0 : beat + 1;
                if (m_axi_wlast) state <= ANSWER;
            end
            ANSWER: if (m_axi_bvalid) begin
                batches_done <= batches_done + 1;
                m_axi_araddr <= m_axi_araddr + 8 * BEATS;
                m_axi_awaddr <= m_axi_awaddr + 8 * BEATS;
                if (batches_done + 1 == batches) begin state <= IDLE; done <= 1; end
                else begin state <= READ; m_axi_arvalid <= 1; end
            end
            default: ;
        endcase
        if (rst) begin
            state <= IDLE; loaded <= 0; done <= 0; error <= 0; beat <= 0;
            s_axi_bvalid <= 0; s_axi_rvalid <= 0; m_axi_arvalid <= 0; m_axi_awvalid <= 0;
        end
    end
endmodule
