// open_top with the ports of an engine: the bench's buses arrive at the processor's ports, as AXI3. The processor is a
// model that knows the ports open_top uses, of the directions and widths in Yosys' library.
`default_nettype none

module open_top_bench (
    input  wire clk,
    input  wire rst,
    input  wire [11:0] s_axi_awaddr,
    input  wire [2:0] s_axi_awprot,
    input  wire s_axi_awvalid,
    output wire s_axi_awready,
    input  wire [31:0] s_axi_wdata,
    input  wire [3:0] s_axi_wstrb,
    input  wire s_axi_wvalid,
    output wire s_axi_wready,
    output wire [1:0] s_axi_bresp,
    output wire s_axi_bvalid,
    input  wire s_axi_bready,
    input  wire [11:0] s_axi_araddr,
    input  wire [2:0] s_axi_arprot,
    input  wire s_axi_arvalid,
    output wire s_axi_arready,
    output wire [31:0] s_axi_rdata,
    output wire [1:0] s_axi_rresp,
    output wire s_axi_rvalid,
    input  wire s_axi_rready,
    output wire [31:0] m_axi_awaddr,
    output wire [7:0] m_axi_awlen,
    output wire [2:0] m_axi_awsize,
    output wire [1:0] m_axi_awburst,
    output wire [3:0] m_axi_awcache,
    output wire [2:0] m_axi_awprot,
    output wire m_axi_awvalid,
    input  wire m_axi_awready,
    output wire [63:0] m_axi_wdata,
    output wire [7:0] m_axi_wstrb,
    output wire m_axi_wlast,
    output wire m_axi_wvalid,
    input  wire m_axi_wready,
    input  wire [1:0] m_axi_bresp,
    input  wire m_axi_bvalid,
    output wire m_axi_bready,
    output wire [31:0] m_axi_araddr,
    output wire [7:0] m_axi_arlen,
    output wire [2:0] m_axi_arsize,
    output wire [1:0] m_axi_arburst,
    output wire [3:0] m_axi_arcache,
    output wire [2:0] m_axi_arprot,
    output wire m_axi_arvalid,
    input  wire m_axi_arready,
    input  wire [63:0] m_axi_rdata,
    input  wire [1:0] m_axi_rresp,
    input  wire m_axi_rlast,
    input  wire m_axi_rvalid,
    output wire m_axi_rready,
    output wire irq
);

    wire heartbeat;
    open_top dut (.heartbeat(heartbeat));

    assign s_axi_awready = dut.ps.MAXIGP0AWREADY;
    assign s_axi_wready = dut.ps.MAXIGP0WREADY;
    assign s_axi_bresp = dut.ps.MAXIGP0BRESP;
    assign s_axi_bvalid = dut.ps.MAXIGP0BVALID;
    assign s_axi_arready = dut.ps.MAXIGP0ARREADY;
    assign s_axi_rdata = dut.ps.MAXIGP0RDATA;
    assign s_axi_rresp = dut.ps.MAXIGP0RRESP;
    assign s_axi_rvalid = dut.ps.MAXIGP0RVALID;

    assign m_axi_awaddr = dut.ps.SAXIHP0AWADDR;
    assign m_axi_awlen = {4'd0, dut.ps.SAXIHP0AWLEN};
    assign m_axi_awsize = {1'b0, dut.ps.SAXIHP0AWSIZE};
    assign m_axi_awburst = dut.ps.SAXIHP0AWBURST;
    assign m_axi_awcache = dut.ps.SAXIHP0AWCACHE;
    assign m_axi_awprot = dut.ps.SAXIHP0AWPROT;
    assign m_axi_awvalid = dut.ps.SAXIHP0AWVALID;
    assign m_axi_wdata = dut.ps.SAXIHP0WDATA;
    assign m_axi_wstrb = dut.ps.SAXIHP0WSTRB;
    assign m_axi_wlast = dut.ps.SAXIHP0WLAST;
    assign m_axi_wvalid = dut.ps.SAXIHP0WVALID;
    assign m_axi_bready = dut.ps.SAXIHP0BREADY;
    assign m_axi_araddr = dut.ps.SAXIHP0ARADDR;
    assign m_axi_arlen = {4'd0, dut.ps.SAXIHP0ARLEN};
    assign m_axi_arsize = {1'b0, dut.ps.SAXIHP0ARSIZE};
    assign m_axi_arburst = dut.ps.SAXIHP0ARBURST;
    assign m_axi_arcache = dut.ps.SAXIHP0ARCACHE;
    assign m_axi_arprot = dut.ps.SAXIHP0ARPROT;
    assign m_axi_arvalid = dut.ps.SAXIHP0ARVALID;
    assign m_axi_rready = dut.ps.SAXIHP0RREADY;

    assign irq = dut.ps.IRQF2P[0];

endmodule

module BUFG (
    input  wire I,
    output wire O
);
    assign O = I;
endmodule

module PS7 (
    output wire [3:0] FCLKCLK,
    output wire [3:0] FCLKRESETN,
    input wire  [3:0] FCLKCLKTRIGN,
    input wire  FPGAIDLEN,
    input wire  [3:0] DDRARB,
    input wire  [19:0] IRQF2P,
    input wire  MAXIGP0ACLK,
    output wire [11:0] MAXIGP0AWID,
    output wire [31:0] MAXIGP0AWADDR,
    output wire [3:0] MAXIGP0AWLEN,
    output wire [2:0] MAXIGP0AWPROT,
    output wire MAXIGP0AWVALID,
    input wire  MAXIGP0AWREADY,
    output wire [31:0] MAXIGP0WDATA,
    output wire [3:0] MAXIGP0WSTRB,
    output wire MAXIGP0WLAST,
    output wire MAXIGP0WVALID,
    input wire  MAXIGP0WREADY,
    input wire  [11:0] MAXIGP0BID,
    input wire  [1:0] MAXIGP0BRESP,
    input wire  MAXIGP0BVALID,
    output wire MAXIGP0BREADY,
    output wire [11:0] MAXIGP0ARID,
    output wire [31:0] MAXIGP0ARADDR,
    output wire [3:0] MAXIGP0ARLEN,
    output wire [2:0] MAXIGP0ARPROT,
    output wire MAXIGP0ARVALID,
    input wire  MAXIGP0ARREADY,
    input wire  [11:0] MAXIGP0RID,
    input wire  [31:0] MAXIGP0RDATA,
    input wire  [1:0] MAXIGP0RRESP,
    input wire  MAXIGP0RLAST,
    input wire  MAXIGP0RVALID,
    output wire MAXIGP0RREADY,
    input wire  SAXIHP0ACLK,
    input wire  [5:0] SAXIHP0AWID,
    input wire  [31:0] SAXIHP0AWADDR,
    input wire  [3:0] SAXIHP0AWLEN,
    input wire  [1:0] SAXIHP0AWSIZE,
    input wire  [1:0] SAXIHP0AWBURST,
    input wire  [1:0] SAXIHP0AWLOCK,
    input wire  [3:0] SAXIHP0AWCACHE,
    input wire  [2:0] SAXIHP0AWPROT,
    input wire  [3:0] SAXIHP0AWQOS,
    input wire  SAXIHP0AWVALID,
    output wire SAXIHP0AWREADY,
    input wire  [5:0] SAXIHP0WID,
    input wire  [63:0] SAXIHP0WDATA,
    input wire  [7:0] SAXIHP0WSTRB,
    input wire  SAXIHP0WLAST,
    input wire  SAXIHP0WVALID,
    output wire SAXIHP0WREADY,
    output wire [1:0] SAXIHP0BRESP,
    output wire SAXIHP0BVALID,
    input wire  SAXIHP0BREADY,
    input wire  [5:0] SAXIHP0ARID,
    input wire  [31:0] SAXIHP0ARADDR,
    input wire  [3:0] SAXIHP0ARLEN,
    input wire  [1:0] SAXIHP0ARSIZE,
    input wire  [1:0] SAXIHP0ARBURST,
    input wire  [1:0] SAXIHP0ARLOCK,
    input wire  [3:0] SAXIHP0ARCACHE,
    input wire  [2:0] SAXIHP0ARPROT,
    input wire  [3:0] SAXIHP0ARQOS,
    input wire  SAXIHP0ARVALID,
    output wire SAXIHP0ARREADY,
    output wire [63:0] SAXIHP0RDATA,
    output wire [1:0] SAXIHP0RRESP,
    output wire SAXIHP0RLAST,
    output wire SAXIHP0RVALID,
    input wire  SAXIHP0RREADY,
    input wire  SAXIHP0WRISSUECAP1EN,
    input wire  SAXIHP0RDISSUECAP1EN
);

    assign FCLKCLK = {3'b000, open_top_bench.clk};
    assign FCLKRESETN = {3'b000, !open_top_bench.rst};

    // Whatever the ID, the response must have it; the register space is where the board's is.
    assign MAXIGP0AWID = 12'hA5C;
    assign MAXIGP0AWADDR = {20'h43C00, open_top_bench.s_axi_awaddr};
    assign MAXIGP0AWLEN = 4'd0;
    assign MAXIGP0AWPROT = open_top_bench.s_axi_awprot;
    assign MAXIGP0AWVALID = open_top_bench.s_axi_awvalid;
    assign MAXIGP0WDATA = open_top_bench.s_axi_wdata;
    assign MAXIGP0WSTRB = open_top_bench.s_axi_wstrb;
    assign MAXIGP0WLAST = 1'b1;
    assign MAXIGP0WVALID = open_top_bench.s_axi_wvalid;
    assign MAXIGP0BREADY = open_top_bench.s_axi_bready && MAXIGP0BID == 12'hA5C;
    assign MAXIGP0ARID = 12'h3F1;
    assign MAXIGP0ARADDR = {20'h43C00, open_top_bench.s_axi_araddr};
    assign MAXIGP0ARLEN = 4'd0;
    assign MAXIGP0ARPROT = open_top_bench.s_axi_arprot;
    assign MAXIGP0ARVALID = open_top_bench.s_axi_arvalid;
    assign MAXIGP0RREADY = open_top_bench.s_axi_rready && MAXIGP0RID == 12'h3F1 && MAXIGP0RLAST;

    assign SAXIHP0AWREADY = open_top_bench.m_axi_awready;
    assign SAXIHP0WREADY = open_top_bench.m_axi_wready;
    assign SAXIHP0BRESP = open_top_bench.m_axi_bresp;
    assign SAXIHP0BVALID = open_top_bench.m_axi_bvalid;
    assign SAXIHP0ARREADY = open_top_bench.m_axi_arready;
    assign SAXIHP0RDATA = open_top_bench.m_axi_rdata;
    assign SAXIHP0RRESP = open_top_bench.m_axi_rresp;
    assign SAXIHP0RLAST = open_top_bench.m_axi_rlast;
    assign SAXIHP0RVALID = open_top_bench.m_axi_rvalid;

endmodule

`default_nettype wire
