// Runs a job on a translated engine without a Verilog simulator's interfaces: `simulator <job folder>`.
#include <cstdio>
#include <string>

#include "job.hpp"
#include "memory.hpp"
#include "pins.hpp"
#include "registers.hpp"

namespace {

class Host {
public:
    explicit Host(const Job& job)
        : job_(job), program_(job.read("program.bin")), input_(job.read("input.bin")), output_(job["output_bytes"]),
          memory_({{job["program_address"], program_.data(), program_.size(), false},
                   {job["input_address"], input_.data(), input_.size(), false},
                   {job["output_address"], output_.data(), output_.size(), true}},
                  Pauses(job["stalls"], job["seed"]), Outside::ENDS),
          pins_(memory_, job["max_cycles"]) {}

    void run() {
        pins_.reset();
        expect("ID", registers::ID, registers::ID_VALUE);
        expect("CONFIG", registers::CONFIG, job_["config"]);
        pins_.write(registers::PROGRAM_ADDRESS, job_["program_address"]);
        pins_.write(registers::PROGRAM_BEATS, job_["program_beats"]);
        pins_.write(registers::INPUT_ADDRESS, job_["input_address"]);
        pins_.write(registers::OUTPUT_ADDRESS, job_["output_address"]);
        pins_.write(registers::BATCHES, job_["batches"]);
        pins_.write(registers::CONTROL, registers::LOAD_PROGRAM);
        wait_for(registers::PROGRAM_LOADED);
        pins_.write(registers::CONTROL, registers::START);
        wait_for(registers::DONE);
        job_.write("output.bin", output_);
    }

    // The lines of result.txt.
    std::string result() {
        const std::pair<const char*, uint32_t> counters[] = {{"error", registers::ERROR},
                                                             {"cycles", registers::CYCLES},
                                                             {"stall_cycles", registers::STALL_CYCLES},
                                                             {"batch_cycles", registers::BATCH_CYCLES},
                                                             {"batches_done", registers::BATCHES_DONE}};
        std::string text;
        for (const auto& [name, address] : counters) text += line(name, pins_.read(address));
        return text + line("clocks", pins_.clocks());
    }

private:
    static constexpr unsigned POLL_CYCLES = 256;

    static std::string line(const std::string& name, uint64_t value) { return name + " " + std::to_string(value) + "\n"; }

    void expect(const std::string& name, uint32_t address, uint64_t value) {
        const uint32_t found = pins_.read(address);
        if (found != value) {
            throw Failure("register " + name + " must be " + std::to_string(value) + ", not " + std::to_string(found));
        }
    }

    void wait_for(uint32_t bit) {
        uint32_t shown = 0;
        for (uint32_t status = 0; !(status & (bit | registers::FAILED));) {
            for (unsigned i = 0; i < POLL_CYCLES; ++i) pins_.cycle();
            status = pins_.read(registers::STATUS);
            const uint32_t done = pins_.read(registers::BATCHES_DONE);
            if (done != shown) job_.write("progress.txt", std::to_string(shown = done));
        }
    }

    const Job& job_;
    Bytes program_, input_, output_;
    Memory memory_;
    Pins pins_;
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
