// The host's memory behind an AXI4 port: incrementing bursts in order, one beat per clock cycle and direction.
// Only what the job placed there can be read, only the output buffer can be written.
#pragma once

#include <cstring>
#include <deque>
#include <random>
#include <utility>

#include "job.hpp"

struct Region {
    uint64_t address;
    Bytes bytes;
    bool writable;
};

// A port wider than 64 bits is an array of words, a narrower one an integer: both are little endian in memory.
template <typename Port> size_t port_bytes(const Port&) { return sizeof(Port); }
template <typename Port> void to_port(Port& port, const uint8_t* bytes) { std::memcpy(&port, bytes, sizeof(Port)); }
template <typename Port> void from_port(uint8_t* bytes, const Port& port) { std::memcpy(bytes, &port, sizeof(Port)); }

class Pauses {
public:
    Pauses(bool enabled, uint64_t seed) : enabled_(enabled), random_(seed) {}
    // Whether a channel rests in this cycle: one cycle in three, at random.
    bool operator()() { return enabled_ && random_() % 3 == 0; }

private:
    bool enabled_;
    std::mt19937_64 random_;
};

class Memory {
public:
    Memory(std::vector<Region> regions, const Pauses& pauses) : regions_(std::move(regions)), pauses_(pauses) {}

    const Bytes& bytes(size_t region) const { return regions_[region].bytes; }

    // What the port shows and takes at a rising edge: call before it, with settled signals.
    template <typename Top> void sample(Top& top) {
        if (top.m_axi_arvalid && top.m_axi_arready) {
            accept(reads_, top.m_axi_araddr, top.m_axi_arlen, top.m_axi_arsize, top.m_axi_arburst, port_bytes(top.m_axi_rdata));
        }
        if (top.m_axi_rvalid && top.m_axi_rready) showing_read_ = false;
        if (top.m_axi_awvalid && top.m_axi_awready) {
            accept(writes_, top.m_axi_awaddr, top.m_axi_awlen, top.m_axi_awsize, top.m_axi_awburst, port_bytes(top.m_axi_wdata));
        }
        if (top.m_axi_wvalid && top.m_axi_wready) {
            WriteBeat beat{Bytes(port_bytes(top.m_axi_wdata)), top.m_axi_wstrb, bool(top.m_axi_wlast)};
            from_port(beat.bytes.data(), top.m_axi_wdata);
            beats_.push_back(std::move(beat));
        }
        if (top.m_axi_bvalid && top.m_axi_bready) showing_response_ = false;
        retire_writes();
    }

    // The memory's side for the next cycle: call after the rising edge.
    template <typename Top> void drive(Top& top) {
        top.m_axi_arready = reads_.size() < 4 && !pauses_();
        top.m_axi_awready = writes_.size() < 4 && !pauses_();
        top.m_axi_wready = beats_.size() < 4 && !pauses_();
        if (!showing_read_ && !reads_.empty() && !pauses_()) show_read(top);
        top.m_axi_rvalid = showing_read_;
        if (!showing_response_ && responses_ && !pauses_()) {
            --responses_;
            showing_response_ = true;
            top.m_axi_bresp = 0;
        }
        top.m_axi_bvalid = showing_response_;
    }

private:
    struct Burst {
        uint64_t address;
        unsigned beats;
    };
    struct WriteBeat {
        Bytes bytes;
        uint64_t strobes;
        bool last;
    };

    void accept(std::deque<Burst>& queue, uint64_t address, unsigned len, unsigned size, unsigned burst, size_t width) {
        const uint64_t bytes = (len + 1) * width;
        if (burst != 1) throw Failure("AXI: a burst must be incrementing (1), not " + std::to_string(burst));
        if ((1u << size) != width || address % width) throw Failure("AXI: bursts must be whole, aligned beats");
        if (address / 4096 != (address + bytes - 1) / 4096) throw Failure("AXI: a burst crosses a 4 KiB boundary");
        queue.push_back({address, len + 1});
    }

    uint8_t* at(uint64_t address, size_t size, bool write) {
        for (Region& region : regions_) {
            const uint64_t offset = address - region.address;
            if (offset < region.bytes.size() && offset + size <= region.bytes.size() && (region.writable || !write)) {
                return region.bytes.data() + offset;
            }
        }
        throw Failure(std::string("AXI: the engine ") + (write ? "writes" : "reads") + " outside its buffers, address " +
                      std::to_string(address));
    }

    template <typename Top> void show_read(Top& top) {
        Burst& burst = reads_.front();
        const size_t width = port_bytes(top.m_axi_rdata);
        to_port(top.m_axi_rdata, at(burst.address, width, false));
        top.m_axi_rresp = 0;
        top.m_axi_rlast = --burst.beats == 0;
        burst.address += width;
        if (burst.beats == 0) reads_.pop_front();
        showing_read_ = true;
    }

    void retire_writes() {
        while (!writes_.empty() && !beats_.empty()) {
            Burst& burst = writes_.front();
            const WriteBeat beat = std::move(beats_.front());
            beats_.pop_front();
            uint8_t* target = at(burst.address, beat.bytes.size(), true);
            for (size_t i = 0; i < beat.bytes.size(); ++i) {
                if (beat.strobes >> i & 1) target[i] = beat.bytes[i];
            }
            burst.address += beat.bytes.size();
            if (beat.last != (--burst.beats == 0)) throw Failure("AXI: wlast must mark the last beat of a burst");
            if (burst.beats == 0) {
                writes_.pop_front();
                ++responses_;
            }
        }
    }

    std::vector<Region> regions_;
    Pauses pauses_;
    std::deque<Burst> reads_, writes_;
    std::deque<WriteBeat> beats_;
    unsigned responses_ = 0;
    bool showing_read_ = false, showing_response_ = false;
};
