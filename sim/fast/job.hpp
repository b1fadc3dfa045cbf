// A job's files, as sim/job.py describes them.
#pragma once

#include <cstdint>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "failure.hpp"

using Bytes = std::vector<uint8_t>;

class Job {
public:
    explicit Job(const std::string& folder) : folder_(folder) {
        std::ifstream file(folder + "/job.txt");
        std::string name;
        for (uint64_t value; file >> name >> value;) fields_[name] = value;
    }

    uint64_t operator[](const std::string& name) const {
        const auto found = fields_.find(name);
        if (found == fields_.end()) throw Failure("job.txt must have the field " + name);
        return found->second;
    }

    Bytes read(const std::string& name) const {
        std::ifstream file(folder_ + "/" + name, std::ios::binary);
        return Bytes(std::istreambuf_iterator<char>(file), {});
    }

    void write(const std::string& name, const Bytes& bytes) const {
        std::ofstream file(folder_ + "/" + name, std::ios::binary);
        file.write(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }

    void write(const std::string& name, const std::string& text) const { write(name, Bytes(text.begin(), text.end())); }

private:
    std::string folder_;
    std::map<std::string, uint64_t> fields_;
};
