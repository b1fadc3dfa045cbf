// From an AXI3 master with 12-bit IDs (M_AXI_GP0 of a Zynq-7000) to an AXI4-Lite slave with 4 KiB of addresses.
// A burst of one beat inside the 4 KiB at BASE goes through, with its ID given back. Everything else reaches no
// register: longer bursts are answered SLVERR, other addresses DECERR, with as many beats as were asked for.
// One write and one read at a time. An exclusive access is answered OKAY, which tells that it was none.
// Data of a write are accepted after its address, so bursts do not interleave and their WID need not be looked at.
`default_nettype none

module axi3_lite #(
    parameter [31:0] BASE = 32'h43C00000
) (
    input  wire clk,
    input  wire rst,

    // AXI3.
    input  wire [11:0] s_axi_awid,
    input  wire [31:0] s_axi_awaddr,
    input  wire [3:0] s_axi_awlen,
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
    input  wire [3:0] s_axi_arlen,
    input  wire [2:0] s_axi_arprot,
    input  wire s_axi_arvalid,
    output wire s_axi_arready,
    output wire [11:0] s_axi_rid,
    output wire [31:0] s_axi_rdata,
    output wire [1:0] s_axi_rresp,
    output wire s_axi_rlast,
    output wire s_axi_rvalid,
    input  wire s_axi_rready,

    // AXI4-Lite.
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
    output wire m_axi_rready
);

    localparam [1:0] OKAY = 2'b00, SLVERR = 2'b10, DECERR = 2'b11;

    // What a burst is refused with; OKAY: it goes through.
    function [1:0] refusal(input [31:12] page, input [3:0] len);
        refusal = page != BASE[31:12] ? DECERR : len != 4'd0 ? SLVERR : OKAY;
    endfunction

    // -- writes

    localparam [1:0] IDLE = 2'd0, PASS = 2'd1, DISCARD = 2'd2, REFUSE = 2'd3;

    reg [1:0] write;
    reg [11:0] write_id;
    reg [11:0] write_address;
    reg [2:0] write_prot;
    reg [1:0] write_refusal;
    // Of the write that goes through: what the slave has still to accept.
    reg address_left;
    reg data_left;

    assign s_axi_awready = write == IDLE && !rst;
    assign m_axi_awaddr = write_address;
    assign m_axi_awprot = write_prot;
    assign m_axi_awvalid = write == PASS && address_left;
    assign m_axi_wdata = s_axi_wdata;
    assign m_axi_wstrb = s_axi_wstrb;
    assign m_axi_wvalid = write == PASS && data_left && s_axi_wvalid;
    assign s_axi_wready = write == DISCARD || write == PASS && data_left && m_axi_wready;
    assign s_axi_bid = write_id;
    assign s_axi_bresp = write == REFUSE ? write_refusal : m_axi_bresp;
    assign s_axi_bvalid = write == REFUSE || write == PASS && m_axi_bvalid;
    assign m_axi_bready = write == PASS && s_axi_bready;

    always @(posedge clk) begin
        case (write)
            IDLE: begin
                write_id <= s_axi_awid;
                write_address <= s_axi_awaddr[11:0];
                write_prot <= s_axi_awprot;
                write_refusal <= refusal(s_axi_awaddr[31:12], s_axi_awlen);
                address_left <= 1'b1;
                data_left <= 1'b1;
                if (s_axi_awvalid)
                    write <= refusal(s_axi_awaddr[31:12], s_axi_awlen) == OKAY ? PASS : DISCARD;
            end
            PASS: begin
                if (m_axi_awready)
                    address_left <= 1'b0;
                if (m_axi_wvalid && m_axi_wready)
                    data_left <= 1'b0;
                if (m_axi_bvalid && s_axi_bready)
                    write <= IDLE;
            end
            DISCARD:
                if (s_axi_wvalid && s_axi_wlast)
                    write <= REFUSE;
            REFUSE:
                if (s_axi_bready)
                    write <= IDLE;
        endcase
        if (rst)
            write <= IDLE;
    end

    // -- reads

    localparam [1:0] REQUEST = 2'd1, RESPOND = 2'd2;

    reg [1:0] read;
    reg [11:0] read_id;
    reg [11:0] read_address;
    reg [2:0] read_prot;
    reg [1:0] read_refusal;
    // Beats of a refused burst after this one.
    reg [3:0] beats_left;

    assign s_axi_arready = read == IDLE && !rst;
    assign m_axi_araddr = read_address;
    assign m_axi_arprot = read_prot;
    assign m_axi_arvalid = read == REQUEST;
    assign s_axi_rid = read_id;
    assign s_axi_rdata = read == REFUSE ? 32'd0 : m_axi_rdata;
    assign s_axi_rresp = read == REFUSE ? read_refusal : m_axi_rresp;
    assign s_axi_rlast = beats_left == 4'd0;
    assign s_axi_rvalid = read == REFUSE || read == RESPOND && m_axi_rvalid;
    assign m_axi_rready = read == RESPOND && s_axi_rready;

    always @(posedge clk) begin
        case (read)
            IDLE: begin
                read_id <= s_axi_arid;
                read_address <= s_axi_araddr[11:0];
                read_prot <= s_axi_arprot;
                read_refusal <= refusal(s_axi_araddr[31:12], s_axi_arlen);
                beats_left <= s_axi_arlen;
                if (s_axi_arvalid)
                    read <= refusal(s_axi_araddr[31:12], s_axi_arlen) == OKAY ? REQUEST : REFUSE;
            end
            REQUEST:
                if (m_axi_arready)
                    read <= RESPOND;
            RESPOND:
                if (m_axi_rvalid && s_axi_rready)
                    read <= IDLE;
            REFUSE:
                if (s_axi_rready) begin
                    beats_left <= beats_left - 4'd1;
                    if (beats_left == 4'd0)
                        read <= IDLE;
                end
        endcase
        if (rst)
            read <= IDLE;
    end

endmodule

`default_nettype wire
