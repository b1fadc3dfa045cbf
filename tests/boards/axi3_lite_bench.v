// axi3_lite between the AXI peers of cocotbext-axi, whose buses have more signals; and a look at whether the valid
// signals keep what they have promised.
`default_nettype none

// Sets `broken` for good if `valid` or `payload` changes while `ready` is awaited.
module held #(
    parameter BITS = 1
) (
    input  wire clk,
    input  wire rst,
    input  wire valid,
    input  wire ready,
    input  wire [BITS-1:0] payload,
    output reg broken
);
    reg waiting;
    reg [BITS-1:0] promised;
    always @(posedge clk) begin
        waiting <= valid && !ready && !rst;
        promised <= payload;
        if (rst)
            broken <= 1'b0;
        else if (waiting && (!valid || payload != promised))
            broken <= 1'b1;
    end
endmodule

module axi3_lite_bench (
    input  wire clk,
    input  wire rst,
    input  wire [11:0] s_axi_awid,
    input  wire [31:0] s_axi_awaddr,
    input  wire [7:0] s_axi_awlen,
    input  wire [2:0] s_axi_awsize,
    input  wire [1:0] s_axi_awburst,
    input  wire [2:0] s_axi_awprot,
    input  wire s_axi_awvalid,
    output wire s_axi_awready,
    input  wire [31:0] s_axi_wdata,
    input  wire [3:0] s_axi_wstrb,
    input  wire s_axi_wlast,
    input  wire s_axi_wvalid,
    output wire s_axi_wready,
    output wire [11:0] s_axi_bid,
    output wire [1:0] s_axi_bresp,
    output wire s_axi_bvalid,
    input  wire s_axi_bready,
    input  wire [11:0] s_axi_arid,
    input  wire [31:0] s_axi_araddr,
    input  wire [7:0] s_axi_arlen,
    input  wire [2:0] s_axi_arsize,
    input  wire [1:0] s_axi_arburst,
    input  wire [2:0] s_axi_arprot,
    input  wire s_axi_arvalid,
    output wire s_axi_arready,
    output wire [11:0] s_axi_rid,
    output wire [31:0] s_axi_rdata,
    output wire [1:0] s_axi_rresp,
    output wire s_axi_rlast,
    output wire s_axi_rvalid,
    input  wire s_axi_rready,
    output wire [11:0] m_axi_awaddr,
    output wire [2:0] m_axi_awprot,
    output wire m_axi_awvalid,
    input  wire m_axi_awready,
    output wire [31:0] m_axi_wdata,
    output wire [3:0] m_axi_wstrb,
    output wire m_axi_wvalid,
    input  wire m_axi_wready,
    input  wire [1:0] m_axi_bresp,
    input  wire m_axi_bvalid,
    output wire m_axi_bready,
    output wire [11:0] m_axi_araddr,
    output wire [2:0] m_axi_arprot,
    output wire m_axi_arvalid,
    input  wire m_axi_arready,
    input  wire [31:0] m_axi_rdata,
    input  wire [1:0] m_axi_rresp,
    input  wire m_axi_rvalid,
    output wire m_axi_rready,
    // One bit per channel that the adapter drives: AW, W, AR of the slave, B, R of the master.
    output wire [4:0] m_axi_broken
);

    axi3_lite dut (
        .clk(clk),
        .rst(rst),
        .s_axi_awid(s_axi_awid),
        .s_axi_awaddr(s_axi_awaddr),
        .s_axi_awlen(s_axi_awlen[3:0]),
        .s_axi_awprot(s_axi_awprot),
        .s_axi_awvalid(s_axi_awvalid),
        .s_axi_awready(s_axi_awready),
        .s_axi_wdata(s_axi_wdata),
        .s_axi_wstrb(s_axi_wstrb),
        .s_axi_wlast(s_axi_wlast),
        .s_axi_wvalid(s_axi_wvalid),
        .s_axi_wready(s_axi_wready),
        .s_axi_bid(s_axi_bid),
        .s_axi_bresp(s_axi_bresp),
        .s_axi_bvalid(s_axi_bvalid),
        .s_axi_bready(s_axi_bready),
        .s_axi_arid(s_axi_arid),
        .s_axi_araddr(s_axi_araddr),
        .s_axi_arlen(s_axi_arlen[3:0]),
        .s_axi_arprot(s_axi_arprot),
        .s_axi_arvalid(s_axi_arvalid),
        .s_axi_arready(s_axi_arready),
        .s_axi_rid(s_axi_rid),
        .s_axi_rdata(s_axi_rdata),
        .s_axi_rresp(s_axi_rresp),
        .s_axi_rlast(s_axi_rlast),
        .s_axi_rvalid(s_axi_rvalid),
        .s_axi_rready(s_axi_rready),
        .m_axi_awaddr(m_axi_awaddr),
        .m_axi_awprot(m_axi_awprot),
        .m_axi_awvalid(m_axi_awvalid),
        .m_axi_awready(m_axi_awready),
        .m_axi_wdata(m_axi_wdata),
        .m_axi_wstrb(m_axi_wstrb),
        .m_axi_wvalid(m_axi_wvalid),
        .m_axi_wready(m_axi_wready),
        .m_axi_bresp(m_axi_bresp),
        .m_axi_bvalid(m_axi_bvalid),
        .m_axi_bready(m_axi_bready),
        .m_axi_araddr(m_axi_araddr),
        .m_axi_arprot(m_axi_arprot),
        .m_axi_arvalid(m_axi_arvalid),
        .m_axi_arready(m_axi_arready),
        .m_axi_rdata(m_axi_rdata),
        .m_axi_rresp(m_axi_rresp),
        .m_axi_rvalid(m_axi_rvalid),
        .m_axi_rready(m_axi_rready)
    );

    held #(.BITS(15)) aw (.clk(clk), .rst(rst), .valid(m_axi_awvalid), .ready(m_axi_awready),
                          .payload({m_axi_awprot, m_axi_awaddr}), .broken(m_axi_broken[0]));
    held #(.BITS(36)) w (.clk(clk), .rst(rst), .valid(m_axi_wvalid), .ready(m_axi_wready),
                         .payload({m_axi_wstrb, m_axi_wdata}), .broken(m_axi_broken[1]));
    held #(.BITS(15)) ar (.clk(clk), .rst(rst), .valid(m_axi_arvalid), .ready(m_axi_arready),
                          .payload({m_axi_arprot, m_axi_araddr}), .broken(m_axi_broken[2]));
    held #(.BITS(14)) b (.clk(clk), .rst(rst), .valid(s_axi_bvalid), .ready(s_axi_bready),
                         .payload({s_axi_bid, s_axi_bresp}), .broken(m_axi_broken[3]));
    held #(.BITS(47)) r (.clk(clk), .rst(rst), .valid(s_axi_rvalid), .ready(s_axi_rready),
                         .payload({s_axi_rid, s_axi_rlast, s_axi_rresp, s_axi_rdata}), .broken(m_axi_broken[4]));

endmodule

`default_nettype wire
