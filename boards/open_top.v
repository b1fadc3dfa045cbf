// EXPERIMENTAL: top of the open flow for the ZC706 (open_flow.mk), without any IP of Vivado: the processor is the
// primitive PS7, wired to the engine as the block design wires it. No board has run it.
// Pads of the processor (DDR, MIO, PSCLK) are hard-wired to the die, so PS7's ports for them stay open, as do its
// other unused ports; what the boot loader has set up (DDR, MIO, PLLs) stays as it is.
// The clock is FCLK_CLK0 at whatever frequency it has; a driver sets it.
`default_nettype none

module open_top (
    // GPIO_LED_0. See shifthw_top.v.
    output wire heartbeat
);

    // -- clock and reset

    wire [3:0] fclk;
    wire [3:0] fclk_resetn;
    wire clk;

    BUFG clock_buffer (.I(fclk[0]), .O(clk));

    // Reset begins at once and ends with the clock.
    reg [1:0] resetn;
    always @(posedge clk or negedge fclk_resetn[0])
        if (!fclk_resetn[0])
            resetn <= 2'b00;
        else
            resetn <= {resetn[0], 1'b1};
    wire aresetn = resetn[1];
    reg rst;
    always @(posedge clk)
        rst <= !aresetn;

    // -- M_AXI_GP0: the registers

    wire [11:0] gp_awid;
    wire [31:0] gp_awaddr;
    wire [3:0] gp_awlen;
    wire [2:0] gp_awprot;
    wire gp_awvalid;
    wire gp_awready;
    wire [31:0] gp_wdata;
    wire [3:0] gp_wstrb;
    wire gp_wlast;
    wire gp_wvalid;
    wire gp_wready;
    wire [11:0] gp_bid;
    wire [1:0] gp_bresp;
    wire gp_bvalid;
    wire gp_bready;
    wire [11:0] gp_arid;
    wire [31:0] gp_araddr;
    wire [3:0] gp_arlen;
    wire [2:0] gp_arprot;
    wire gp_arvalid;
    wire gp_arready;
    wire [11:0] gp_rid;
    wire [31:0] gp_rdata;
    wire [1:0] gp_rresp;
    wire gp_rlast;
    wire gp_rvalid;
    wire gp_rready;

    wire [11:0] lite_awaddr;
    wire [2:0] lite_awprot;
    wire lite_awvalid;
    wire lite_awready;
    wire [31:0] lite_wdata;
    wire [3:0] lite_wstrb;
    wire lite_wvalid;
    wire lite_wready;
    wire [1:0] lite_bresp;
    wire lite_bvalid;
    wire lite_bready;
    wire [11:0] lite_araddr;
    wire [2:0] lite_arprot;
    wire lite_arvalid;
    wire lite_arready;
    wire [31:0] lite_rdata;
    wire [1:0] lite_rresp;
    wire lite_rvalid;
    wire lite_rready;

    axi3_lite #(
        .BASE(32'h43C00000)
    ) control (
        .clk(clk),
        .rst(rst),
        .s_axi_awid(gp_awid),
        .s_axi_awaddr(gp_awaddr),
        .s_axi_awlen(gp_awlen),
        .s_axi_awprot(gp_awprot),
        .s_axi_awvalid(gp_awvalid),
        .s_axi_awready(gp_awready),
        .s_axi_wdata(gp_wdata),
        .s_axi_wstrb(gp_wstrb),
        .s_axi_wlast(gp_wlast),
        .s_axi_wvalid(gp_wvalid),
        .s_axi_wready(gp_wready),
        .s_axi_bid(gp_bid),
        .s_axi_bresp(gp_bresp),
        .s_axi_bvalid(gp_bvalid),
        .s_axi_bready(gp_bready),
        .s_axi_arid(gp_arid),
        .s_axi_araddr(gp_araddr),
        .s_axi_arlen(gp_arlen),
        .s_axi_arprot(gp_arprot),
        .s_axi_arvalid(gp_arvalid),
        .s_axi_arready(gp_arready),
        .s_axi_rid(gp_rid),
        .s_axi_rdata(gp_rdata),
        .s_axi_rresp(gp_rresp),
        .s_axi_rlast(gp_rlast),
        .s_axi_rvalid(gp_rvalid),
        .s_axi_rready(gp_rready),
        .m_axi_awaddr(lite_awaddr),
        .m_axi_awprot(lite_awprot),
        .m_axi_awvalid(lite_awvalid),
        .m_axi_awready(lite_awready),
        .m_axi_wdata(lite_wdata),
        .m_axi_wstrb(lite_wstrb),
        .m_axi_wvalid(lite_wvalid),
        .m_axi_wready(lite_wready),
        .m_axi_bresp(lite_bresp),
        .m_axi_bvalid(lite_bvalid),
        .m_axi_bready(lite_bready),
        .m_axi_araddr(lite_araddr),
        .m_axi_arprot(lite_arprot),
        .m_axi_arvalid(lite_arvalid),
        .m_axi_arready(lite_arready),
        .m_axi_rdata(lite_rdata),
        .m_axi_rresp(lite_rresp),
        .m_axi_rvalid(lite_rvalid),
        .m_axi_rready(lite_rready)
    );

    // -- S_AXI_HP0: DRAM. The engine's AXI4 differs from AXI3 in the width of AWLEN, ARLEN and the sizes only: its
    // bursts have at most 16 beats of 8 bytes, and come with one ID and in order.

    wire [31:0] hp_awaddr;
    wire [7:0] hp_awlen;
    wire [2:0] hp_awsize;
    wire [1:0] hp_awburst;
    wire [3:0] hp_awcache;
    wire [2:0] hp_awprot;
    wire hp_awvalid;
    wire hp_awready;
    wire [63:0] hp_wdata;
    wire [7:0] hp_wstrb;
    wire hp_wlast;
    wire hp_wvalid;
    wire hp_wready;
    wire [1:0] hp_bresp;
    wire hp_bvalid;
    wire hp_bready;
    wire [31:0] hp_araddr;
    wire [7:0] hp_arlen;
    wire [2:0] hp_arsize;
    wire [1:0] hp_arburst;
    wire [3:0] hp_arcache;
    wire [2:0] hp_arprot;
    wire hp_arvalid;
    wire hp_arready;
    wire [63:0] hp_rdata;
    wire [1:0] hp_rresp;
    wire hp_rlast;
    wire hp_rvalid;
    wire hp_rready;
    wire irq;

    shifthw_top #(
        .AXI_DATA_BITS(64)
    ) accelerator (
        .aclk(clk),
        .aresetn(aresetn),
        .s_axi_awaddr(lite_awaddr),
        .s_axi_awprot(lite_awprot),
        .s_axi_awvalid(lite_awvalid),
        .s_axi_awready(lite_awready),
        .s_axi_wdata(lite_wdata),
        .s_axi_wstrb(lite_wstrb),
        .s_axi_wvalid(lite_wvalid),
        .s_axi_wready(lite_wready),
        .s_axi_bresp(lite_bresp),
        .s_axi_bvalid(lite_bvalid),
        .s_axi_bready(lite_bready),
        .s_axi_araddr(lite_araddr),
        .s_axi_arprot(lite_arprot),
        .s_axi_arvalid(lite_arvalid),
        .s_axi_arready(lite_arready),
        .s_axi_rdata(lite_rdata),
        .s_axi_rresp(lite_rresp),
        .s_axi_rvalid(lite_rvalid),
        .s_axi_rready(lite_rready),
        .m_axi_awaddr(hp_awaddr),
        .m_axi_awlen(hp_awlen),
        .m_axi_awsize(hp_awsize),
        .m_axi_awburst(hp_awburst),
        .m_axi_awcache(hp_awcache),
        .m_axi_awprot(hp_awprot),
        .m_axi_awvalid(hp_awvalid),
        .m_axi_awready(hp_awready),
        .m_axi_wdata(hp_wdata),
        .m_axi_wstrb(hp_wstrb),
        .m_axi_wlast(hp_wlast),
        .m_axi_wvalid(hp_wvalid),
        .m_axi_wready(hp_wready),
        .m_axi_bresp(hp_bresp),
        .m_axi_bvalid(hp_bvalid),
        .m_axi_bready(hp_bready),
        .m_axi_araddr(hp_araddr),
        .m_axi_arlen(hp_arlen),
        .m_axi_arsize(hp_arsize),
        .m_axi_arburst(hp_arburst),
        .m_axi_arcache(hp_arcache),
        .m_axi_arprot(hp_arprot),
        .m_axi_arvalid(hp_arvalid),
        .m_axi_arready(hp_arready),
        .m_axi_rdata(hp_rdata),
        .m_axi_rresp(hp_rresp),
        .m_axi_rlast(hp_rlast),
        .m_axi_rvalid(hp_rvalid),
        .m_axi_rready(hp_rready),
        .irq(irq),
        .heartbeat(heartbeat)
    );

    // -- the processor

    PS7 ps (
        .FCLKCLK(fclk),
        .FCLKRESETN(fclk_resetn),
        .FCLKCLKTRIGN(4'b0000),
        .FPGAIDLEN(1'b1),
        .DDRARB(4'b0000),
        // The lowest line: interrupt 61, as IRQ_F2P[0] of the block design.
        .IRQF2P({19'b0, irq}),

        .MAXIGP0ACLK(clk),
        .MAXIGP0AWID(gp_awid),
        .MAXIGP0AWADDR(gp_awaddr),
        .MAXIGP0AWLEN(gp_awlen),
        .MAXIGP0AWPROT(gp_awprot),
        .MAXIGP0AWVALID(gp_awvalid),
        .MAXIGP0AWREADY(gp_awready),
        .MAXIGP0WDATA(gp_wdata),
        .MAXIGP0WSTRB(gp_wstrb),
        .MAXIGP0WLAST(gp_wlast),
        .MAXIGP0WVALID(gp_wvalid),
        .MAXIGP0WREADY(gp_wready),
        .MAXIGP0BID(gp_bid),
        .MAXIGP0BRESP(gp_bresp),
        .MAXIGP0BVALID(gp_bvalid),
        .MAXIGP0BREADY(gp_bready),
        .MAXIGP0ARID(gp_arid),
        .MAXIGP0ARADDR(gp_araddr),
        .MAXIGP0ARLEN(gp_arlen),
        .MAXIGP0ARPROT(gp_arprot),
        .MAXIGP0ARVALID(gp_arvalid),
        .MAXIGP0ARREADY(gp_arready),
        .MAXIGP0RID(gp_rid),
        .MAXIGP0RDATA(gp_rdata),
        .MAXIGP0RRESP(gp_rresp),
        .MAXIGP0RLAST(gp_rlast),
        .MAXIGP0RVALID(gp_rvalid),
        .MAXIGP0RREADY(gp_rready),

        .SAXIHP0ACLK(clk),
        .SAXIHP0AWID(6'd0),
        .SAXIHP0AWADDR(hp_awaddr),
        .SAXIHP0AWLEN(hp_awlen[3:0]),
        .SAXIHP0AWSIZE(hp_awsize[1:0]),
        .SAXIHP0AWBURST(hp_awburst),
        .SAXIHP0AWLOCK(2'b00),
        .SAXIHP0AWCACHE(hp_awcache),
        .SAXIHP0AWPROT(hp_awprot),
        .SAXIHP0AWQOS(4'd0),
        .SAXIHP0AWVALID(hp_awvalid),
        .SAXIHP0AWREADY(hp_awready),
        .SAXIHP0WID(6'd0),
        .SAXIHP0WDATA(hp_wdata),
        .SAXIHP0WSTRB(hp_wstrb),
        .SAXIHP0WLAST(hp_wlast),
        .SAXIHP0WVALID(hp_wvalid),
        .SAXIHP0WREADY(hp_wready),
        .SAXIHP0BRESP(hp_bresp),
        .SAXIHP0BVALID(hp_bvalid),
        .SAXIHP0BREADY(hp_bready),
        .SAXIHP0ARID(6'd0),
        .SAXIHP0ARADDR(hp_araddr),
        .SAXIHP0ARLEN(hp_arlen[3:0]),
        .SAXIHP0ARSIZE(hp_arsize[1:0]),
        .SAXIHP0ARBURST(hp_arburst),
        .SAXIHP0ARLOCK(2'b00),
        .SAXIHP0ARCACHE(hp_arcache),
        .SAXIHP0ARPROT(hp_arprot),
        .SAXIHP0ARQOS(4'd0),
        .SAXIHP0ARVALID(hp_arvalid),
        .SAXIHP0ARREADY(hp_arready),
        .SAXIHP0RDATA(hp_rdata),
        .SAXIHP0RRESP(hp_rresp),
        .SAXIHP0RLAST(hp_rlast),
        .SAXIHP0RVALID(hp_rvalid),
        .SAXIHP0RREADY(hp_rready),
        // The number of outstanding bursts is the one in the port's registers.
        .SAXIHP0WRISSUECAP1EN(1'b0),
        .SAXIHP0RDISSUECAP1EN(1'b0)
    );

endmodule

`default_nettype wire
