// Runs a job on a translated engine without a Verilog simulator's interfaces: `simulator <job folder>`.
#include <cstdio>
#include <memory>

#include "Vtop.h"
#include "job.hpp"
#include "memory.hpp"
#include "registers.hpp"
#include "verilated.h"

namespace {

class Host {
public:
    explicit Host(const Job& job)
        : job_(job), top_(std::make_unique<Vtop>(&context_)),
          memory_({{job["program_address"], job.read("program.bin"), false},
                   {job["input_address"], job.read("input.bin"), false},
                   {job["output_address"], Bytes(job["output_bytes"]), true}},
                  Pauses(job["stalls"], job["seed"])) {}

    void run() {
        reset();
        expect("ID", registers::ID, registers::ID_VALUE);
        expect("CONFIG", registers::CONFIG, job_["config"]);
        write(registers::PROGRAM_ADDRESS, job_["program_address"]);
        write(registers::PROGRAM_BEATS, job_["program_beats"]);
        write(registers::INPUT_ADDRESS, job_["input_address"]);
        write(registers::OUTPUT_ADDRESS, job_["output_address"]);
        write(registers::BATCHES, job_["batches"]);
        write(registers::CONTROL, registers::LOAD_PROGRAM);
        wait_for(registers::PROGRAM_LOADED);
        write(registers::CONTROL, registers::START);
        wait_for(registers::DONE);
        job_.write("output.bin", memory_.bytes(2));
    }

    // The lines of result.txt.
    std::string result() {
        const std::pair<const char*, uint32_t> counters[] = {{"error", registers::ERROR},
                                                             {"cycles", registers::CYCLES},
                                                             {"stall_cycles", registers::STALL_CYCLES},
                                                             {"batch_cycles", registers::BATCH_CYCLES},
                                                             {"batches_done", registers::BATCHES_DONE}};
        std::string text;
        for (const auto& [name, address] : counters) text += line(name, read(address));
        return text + line("clocks", clocks_);
    }

private:
    static constexpr unsigned POLL_CYCLES = 256;

    static std::string line(const std::string& name, uint64_t value) { return name + " " + std::to_string(value) + "\n"; }

    // One clock cycle; `before_edge` sees the settled signals that the rising edge will take.
    template <typename Function> void cycle(Function before_edge) {
        if (++clocks_ > job_["max_cycles"]) {
            throw Failure("the engine is not done after " + std::to_string(job_["max_cycles"]) + " clock cycles");
        }
        top_->clk = 0;
        top_->eval();
        before_edge();
        if (!top_->rst) memory_.sample(*top_);
        top_->clk = 1;
        top_->eval();
        memory_.drive(*top_);
    }
    void cycle() {
        cycle([] {});
    }

    void reset() {
        top_->rst = 1;
        for (int i = 0; i < 8; ++i) cycle();
        top_->rst = 0;
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

    void expect(const std::string& name, uint32_t address, uint64_t value) {
        const uint32_t found = read(address);
        if (found != value) {
            throw Failure("register " + name + " must be " + std::to_string(value) + ", not " + std::to_string(found));
        }
    }

    void wait_for(uint32_t bit) {
        uint32_t shown = 0;
        for (uint32_t status = 0; !(status & (bit | registers::FAILED));) {
            for (unsigned i = 0; i < POLL_CYCLES; ++i) cycle();
            status = read(registers::STATUS);
            const uint32_t done = read(registers::BATCHES_DONE);
            if (done != shown) job_.write("progress.txt", std::to_string(shown = done));
        }
    }

    const Job& job_;
    VerilatedContext context_;
    std::unique_ptr<Vtop> top_;
    Memory memory_;
    uint64_t clocks_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s JOB_FOLDER\n", argv[0]);
        return 2;
    }
    const Job job(argv[1]);
    std::string result;
    try {
        Host host(job);
        host.run();
        result = host.result();
    } catch (const Failure& failure) {
        result = std::string("failure ") + failure.what() + "\n";
    }
    job.write("result.txt", result);
    return 0;
}
