// The engine's clock, its reset and its registers, with a memory on its other port.
#pragma once

#include <cstdint>
#include <memory>

#include "Vtop.h"
#include "failure.hpp"
#include "memory.hpp"
#include "verilated.h"

class Pins {
public:
    Pins(Memory& memory, uint64_t most_clocks) : memory_(memory), most_clocks_(most_clocks), top_(new Vtop(&context_)) {}

    uint64_t clocks() const { return clocks_; }
    bool irq() const { return top_->irq; }

    void reset() {
        top_->rst = 1;
        for (int i = 0; i < 8; ++i) cycle();
        top_->rst = 0;
    }

    void cycle() {
        cycle([] {});
    }

    void write(uint32_t address, uint32_t value) {
        bool address_taken = false, data_taken = false, answered = false;
        top_->s_axi_awaddr = address;
        top_->s_axi_wdata = value;
        top_->s_axi_wstrb = 0xF;
        while (!answered) {
            top_->s_axi_awvalid = !address_taken;
            top_->s_axi_wvalid = !data_taken;
            top_->s_axi_bready = 1;
            cycle([&] {
                address_taken |= top_->s_axi_awvalid && top_->s_axi_awready;
                data_taken |= top_->s_axi_wvalid && top_->s_axi_wready;
                answered = top_->s_axi_bvalid;
            });
        }
        top_->s_axi_awvalid = top_->s_axi_wvalid = top_->s_axi_bready = 0;
    }

    uint32_t read(uint32_t address) {
        bool address_taken = false, answered = false;
        uint32_t value = 0;
        top_->s_axi_araddr = address;
        while (!answered) {
            top_->s_axi_arvalid = !address_taken;
            top_->s_axi_rready = 1;
            cycle([&] {
                address_taken |= top_->s_axi_arvalid && top_->s_axi_arready;
                answered = top_->s_axi_rvalid;
                value = top_->s_axi_rdata;
            });
        }
        top_->s_axi_arvalid = top_->s_axi_rready = 0;
        return value;
    }

private:
    // One clock cycle; `before_edge` sees the settled signals that the rising edge will take.
    template <typename Function> void cycle(Function before_edge) {
        if (++clocks_ > most_clocks_) {
            throw Failure("the engine is not done after " + std::to_string(most_clocks_) + " clock cycles");
        }
        top_->clk = 0;
        top_->eval();
        before_edge();
        if (top_->rst) {
            memory_.forget(*top_);
        } else {
            memory_.sample(*top_);
        }
        top_->clk = 1;
        top_->eval();
        memory_.drive(*top_);
    }

    Memory& memory_;
    const uint64_t most_clocks_;
    VerilatedContext context_;
    std::unique_ptr<Vtop> top_;
    uint64_t clocks_ = 0;
};
