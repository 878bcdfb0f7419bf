// Compares the library's row kernels with an obvious reference, on rows made to break them. A mismatch ends it with a
// line by which that case can be repeated alone; so does what a sanitizer reports, the touch of a forbidden page, and a
// row without an end.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "../labelset.h"
#include "case.h"

// Of the sanitizers' runtime, where there is one.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

struct Options {
    int64_t rows = 1'000'000;
    uint64_t seed = 1;
    int64_t first_case = 0;
    int thread_count = 1;
    std::vector<std::string> paths;
};

constexpr const char* kUsage =
    "usage: fuzz_rows [--path avx512|avx2|neon|portable] [--rows N] [--seed N] [--threads N] [--case N]\n"
    "  --path   may be given several times; default: all that this CPU has\n"
    "  --rows   on each path, rounded up to whole cases; default: 1000000\n"
    "  --case   only this one\n";

// What this thread is at, as text that a signal handler can write.
thread_local char current_case[256] = "";

void write_error(const char* text) {
    const ssize_t written = write(STDERR_FILENO, text, std::strlen(text));
    static_cast<void>(written);  // There is nobody else to tell.
}

void write_current_case() { write_error(current_case); }

void die_of_signal(int signal_number) {
    write_error(signal_number == SIGALRM ? "fuzz_rows: the library must come to an end within a minute\n"
                                         : "fuzz_rows: memory was touched that must not be\n");
    write_current_case();
    _exit(128 + signal_number);
}

// `_exit`, since other threads may still be computing.
void check(fuzz::Case& tried, const std::string& path, uint64_t seed, int64_t index) {
    std::snprintf(current_case, sizeof current_case,
                  "  %lld x %lld logits on path %s; once more: fuzz_rows --path %s --seed %llu --case %lld\n",
                  static_cast<long long>(tried.row_count()), static_cast<long long>(tried.class_count()), path.c_str(),
                  path.c_str(), static_cast<unsigned long long>(seed), static_cast<long long>(index));
    labelset_set_cpu_path(path.c_str());
    alarm(60);
    const std::string error = tried.error();
    if (error.empty()) return;
    write_error(("fuzz_rows: " + error + "\n").c_str());
    write_current_case();
    _exit(1);
}

class Progress {
   public:
    explicit Progress(int64_t wanted) : wanted_(wanted) {}

    // Returns whether more rows are wanted.
    bool add(int64_t rows) {
        const int64_t done = done_ += rows;
        // Ten lines, whatever the number of rows.
        if (10 * done / wanted_ != 10 * (done - rows) / wanted_) {
            const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
            std::printf("%lld rows, %.0f rows/s\n", static_cast<long long>(done),
                        static_cast<double>(done) / seconds.count());
            std::fflush(stdout);
        }
        return done < wanted_;
    }

   private:
    const int64_t wanted_;
    std::atomic<int64_t> done_{0};
    const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Each thread takes the next case; on its way it chooses the path for all, which must harm nobody.
void run(const Options& options) {
    Progress progress(options.rows);
    std::atomic<int64_t> next_case{options.first_case};
    const auto work = [&] {
        int64_t row_count;
        do {
            const int64_t index = next_case++;
            fuzz::Case tried(options.seed, index);
            for (const std::string& path : options.paths) check(tried, path, options.seed, index);
            row_count = tried.row_count();
        } while (progress.add(row_count));
    };
    std::vector<std::thread> threads;
    for (int thread = 1; thread < options.thread_count; ++thread) threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();
}

[[noreturn]] void refuse(const std::string& reason) {
    std::fprintf(stderr, "fuzz_rows: %s\n%s", reason.c_str(), kUsage);
    std::exit(2);
}

Options parse(int argument_count, char** arguments) {
    Options options;
    for (int i = 1; i < argument_count; i += 2) {
        const std::string name = arguments[i];
        if (i + 1 == argument_count) refuse(name + " must be followed by a value");
        const std::string value = arguments[i + 1];
        const long long number = std::atoll(value.c_str());
        if (name == "--path") {
            if (labelset_set_cpu_path(value.c_str()) != 0) refuse("this CPU must have the path, got " + value);
            options.paths.push_back(value);
        } else if (number < 0 || value.find_first_not_of("0123456789") != std::string::npos) {
            refuse(name + " must be a number from 0 up, got " + value);
        } else if (name == "--rows") {
            options.rows = number;
        } else if (name == "--seed") {
            options.seed = static_cast<uint64_t>(number);
        } else if (name == "--threads") {
            options.thread_count = static_cast<int>(number);
        } else if (name == "--case") {
            options.first_case = number;
            options.rows = 1;
        } else {
            refuse("an option must be one of these, got " + name);
        }
    }
    if (options.paths.empty())
        for (const char* path : {"avx512", "avx2", "neon", "portable"})
            if (labelset_set_cpu_path(path) == 0) options.paths.push_back(path);
    return options;
}

}  // namespace

int main(int argument_count, char** arguments) {
    const Options options = parse(argument_count, arguments);
    if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(write_current_case);
    for (const int signal_number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGALRM}) signal(signal_number, die_of_signal);
    run(options);
    for (const std::string& path : options.paths) std::printf("path %s agrees with the reference\n", path.c_str());
}
