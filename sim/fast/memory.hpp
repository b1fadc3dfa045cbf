// The host's memory behind an AXI4 port: incrementing bursts in order, one beat per clock cycle and direction.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "failure.hpp"

// Memory that the engine may read, and write if writable. Whoever makes it keeps the bytes.
struct Region {
    uint64_t address;
    uint8_t* bytes;
    size_t size;
    bool writable;
};

// What reaching outside the regions does: in a test of the engine it ends the simulation, on a board the bus refuses.
enum class Outside { ENDS, IS_REFUSED };

// What the memory does wrong, for tests of the driver.
struct Faults {
    uint64_t skip_beats = 0;     // good beats of either direction before the first wrong one
    bool refuse_reads = false, refuse_writes = false;
    uint64_t silent = 0;         // cycles without an answer
    uint64_t flip_reads = 0, flip_writes = 0;      // bits of the low 64 of each beat
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
    Memory(std::vector<Region> regions, const Pauses& pauses, Outside outside)
        : regions_(std::move(regions)), pauses_(pauses), outside_(outside) {}

    Faults faults;

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
            WriteBeat beat{std::vector<uint8_t>(port_bytes(top.m_axi_wdata)), top.m_axi_wstrb, bool(top.m_axi_wlast)};
            from_port(beat.bytes.data(), top.m_axi_wdata);
            beats_.push_back(std::move(beat));
        }
        if (top.m_axi_bvalid && top.m_axi_bready) showing_response_ = false;
        retire_writes();
    }

    // The memory's side for the next cycle: call after the rising edge.
    template <typename Top> void drive(Top& top) {
        const bool silent = faults.silent > 0 && faults.skip_beats == 0;
        if (silent) --faults.silent;
        top.m_axi_arready = reads_.size() < 4 && !pauses_();
        top.m_axi_awready = writes_.size() < 4 && !pauses_();
        top.m_axi_wready = beats_.size() < 4 && !pauses_();
        if (!showing_read_ && !reads_.empty() && !pauses_() && !silent) show_read(top);
        top.m_axi_rvalid = showing_read_;
        if (!showing_response_ && !responses_.empty() && !pauses_() && !silent) {
            showing_response_ = true;
            top.m_axi_bresp = responses_.front();
            responses_.pop_front();
        }
        top.m_axi_bvalid = showing_response_;
    }

    // While the engine is reset: transfers that it began are gone, as with a new bitstream.
    template <typename Top> void forget(Top& top) {
        reads_.clear();
        writes_.clear();
        beats_.clear();
        responses_.clear();
        showing_read_ = showing_response_ = refused_ = false;
        top.m_axi_rvalid = top.m_axi_bvalid = 0;
    }

private:
    static constexpr uint8_t OKAY = 0, SLVERR = 2;

    struct Burst {
        uint64_t address;
        unsigned beats;
    };
    struct WriteBeat {
        std::vector<uint8_t> bytes;
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

    // Null where there is nothing, if that is refused.
    uint8_t* at(uint64_t address, size_t size, bool write) {
        for (const Region& region : regions_) {
            const uint64_t offset = address - region.address;
            if (offset < region.size && offset + size <= region.size && (region.writable || !write)) {
                return region.bytes + offset;
            }
        }
        if (outside_ == Outside::IS_REFUSED) return nullptr;
        throw Failure(std::string("AXI: the engine ") + (write ? "writes" : "reads") + " outside its buffers, address " +
                      std::to_string(address));
    }

    static void flip(std::vector<uint8_t>& beat, uint64_t bits) {
        for (size_t i = 0; i < 8 && i < beat.size(); ++i) beat[i] ^= uint8_t(bits >> (8 * i));
    }

    // Whether a beat is a good one still; counts those that come before the fault.
    bool good_beat(bool refuse) {
        if (faults.skip_beats > 0) {
            --faults.skip_beats;
            return true;
        }
        return !refuse;
    }

    template <typename Top> void show_read(Top& top) {
        Burst& burst = reads_.front();
        const size_t width = port_bytes(top.m_axi_rdata);
        const uint8_t* source = at(burst.address, width, false);
        const bool answered = good_beat(faults.refuse_reads) && source;
        std::vector<uint8_t> beat(source ? source : ZEROS, (source ? source : ZEROS) + width);
        flip(beat, faults.flip_reads);
        to_port(top.m_axi_rdata, beat.data());
        top.m_axi_rresp = answered ? OKAY : SLVERR;
        top.m_axi_rlast = --burst.beats == 0;
        burst.address += width;
        if (burst.beats == 0) reads_.pop_front();
        showing_read_ = true;
    }

    void retire_writes() {
        while (!writes_.empty() && !beats_.empty()) {
            Burst& burst = writes_.front();
            WriteBeat beat = std::move(beats_.front());
            beats_.pop_front();
            flip(beat.bytes, faults.flip_writes);
            uint8_t* target = at(burst.address, beat.bytes.size(), true);
            const bool taken = good_beat(faults.refuse_writes) && target;
            for (size_t i = 0; taken && i < beat.bytes.size(); ++i) {
                if (beat.strobes >> i & 1) target[i] = beat.bytes[i];
            }
            refused_ |= !taken;
            burst.address += beat.bytes.size();
            if (beat.last != (--burst.beats == 0)) throw Failure("AXI: wlast must mark the last beat of a burst");
            if (burst.beats == 0) {
                writes_.pop_front();
                responses_.push_back(refused_ ? SLVERR : OKAY);
                refused_ = false;
            }
        }
    }

    static constexpr uint8_t ZEROS[128] = {};

    std::vector<Region> regions_;
    Pauses pauses_;
    const Outside outside_;
    std::deque<Burst> reads_, writes_;
    std::deque<WriteBeat> beats_;
    std::deque<uint8_t> responses_;
    bool showing_read_ = false, showing_response_ = false, refused_ = false;
};
