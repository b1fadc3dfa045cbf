// A translated engine that waits for a driver: `simulator SOCKET MEMORY_FILE ADDRESS`.
// The file is the memory, shared with the driver; requests and answers are lines, see shifthw_driver/simulation.py.
#include <csignal>
#include <cstdio>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "memory.hpp"
#include "pins.hpp"

namespace {

constexpr uint64_t NO_LIMIT = UINT64_MAX;

class SharedFile {
public:
    explicit SharedFile(const std::string& path) {
        const int file = open(path.c_str(), O_RDWR);
        struct stat state{};
        if (file < 0 || fstat(file, &state) != 0) throw Failure("cannot open " + path);
        size_ = size_t(state.st_size);
        void* place = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        close(file);
        if (place == MAP_FAILED) throw Failure("cannot map " + path);
        bytes_ = static_cast<uint8_t*>(place);
    }

    uint8_t* bytes() const { return bytes_; }
    size_t size() const { return size_; }

private:
    uint8_t* bytes_;
    size_t size_;
};

class Server {
public:
    Server(const std::string& file, uint64_t address)
        : path_(file), address_(address), file_(file),
          memory_({{address, file_.bytes(), file_.size(), true}}, Pauses(false, 0), Outside::IS_REFUSED),
          pins_(memory_, NO_LIMIT) {
        pins_.reset();
    }

    std::string answer(const std::string& request) {
        std::istringstream text(request);
        std::vector<std::string> words;
        for (std::string word; text >> word;) words.push_back(word);
        try {
            return obey(words);
        } catch (const std::logic_error&) {     // no number, or too few words
            return "failure no such request: " + request;
        }
    }

private:
    static std::string number(uint64_t value) { return "ok " + std::to_string(value); }

    static uint64_t value(const std::string& word, uint64_t end) {
        size_t used = 0;
        const uint64_t found = std::stoull(word, &used);
        if (used != word.size() || word[0] == '-' || (end && found >= end)) throw std::invalid_argument(word);
        return found;
    }

    std::string obey(const std::vector<std::string>& words) {
        const std::string& verb = words.at(0);
        const auto is = [&](const char* name, size_t size) { return verb == name && words.size() == size; };
        if (is("read", 2)) {
            const uint32_t place = offset(words[1]), found = pins_.read(place);
            return number(place == wrong_register_ ? ~found : found);
        }
        if (is("cycles", 1)) return number(pins_.clocks());
        if (is("memory", 1)) return number(address_) + " " + std::to_string(file_.size()) + " " + path_;
        if (is("write", 3)) {
            pins_.write(offset(words[1]), uint32_t(value(words[2], uint64_t(1) << 32)));
        } else if (is("wait", 2)) {
            const uint64_t cycles = value(words[1], 0);
            for (uint64_t i = 0; i < cycles && !pins_.irq(); ++i) pins_.cycle();
        } else if (is("reset", 1)) {
            pins_.reset();
        } else if (!is("fault", 3) || !set_fault(words[1], value(words[2], 0))) {
            throw std::invalid_argument(verb);
        }
        return "ok";
    }

    static uint32_t offset(const std::string& word) {
        const uint64_t found = value(word, 4096);
        if (found % 4) throw std::invalid_argument(word);
        return uint32_t(found);
    }

    bool set_fault(const std::string& name, uint64_t value) {
        Faults& faults = memory_.faults;
        if (name == "none") return faults = Faults(), wrong_register_ = NONE, true;     // its value does not matter
        if (name == "register") return wrong_register_ = value, true;
        if (name == "skip") return faults.skip_beats = value, true;
        if (name == "read") return faults.refuse_reads = value, true;
        if (name == "write") return faults.refuse_writes = value, true;
        if (name == "silent") return faults.silent = value, true;
        if (name == "flip_reads") return faults.flip_reads = value, true;
        if (name == "flip_writes") return faults.flip_writes = value, true;
        return false;
    }

    static constexpr uint64_t NONE = UINT64_MAX;

    const std::string path_;
    const uint64_t address_;
    uint64_t wrong_register_ = NONE;        // reads with all bits inverted: another design
    SharedFile file_;
    Memory memory_;
    Pins pins_;
};

int listen_at(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) throw Failure("the socket's path is too long: " + path);
    path.copy(address.sun_path, path.size());
    const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        listen(listener, 1) != 0) {
        throw Failure("cannot listen at " + path);
    }
    return listener;
}

void serve(Server& server, int connection) {
    std::string pending;
    char part[4096];
    for (ssize_t got; (got = read(connection, part, sizeof(part))) > 0;) {
        pending.append(part, size_t(got));
        for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
            const std::string line = server.answer(pending.substr(0, end)) + "\n";
            if (write(connection, line.data(), line.size()) != ssize_t(line.size())) return;
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s SOCKET MEMORY_FILE ADDRESS\n", argv[0]);
        return 2;
    }
    std::signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGTERM);       // nobody else would end it, or would remove what it serves
    try {
        Server server(argv[2], std::stoull(argv[3]));
        const int listener = listen_at(argv[1]);
        std::puts("ready");
        std::fflush(stdout);
        // One driver after the other: they would disturb each other in the same registers.
        while (true) {
            const int connection = accept(listener, nullptr, nullptr);
            if (connection < 0) throw Failure("cannot accept a connection");
            serve(server, connection);
            close(connection);
        }
    } catch (const Failure& failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return 1;
    }
}
