// Long work that can be watched and stopped: it tells a Python function the share done, and lets Ctrl-C through.
#pragma once
#include <thread>

#include "python.hpp"

namespace {

class Watch {  // make it with the GIL; only the thread that made it talks to Python
public:
    Watch(const nb::object &tell, int64_t total) : tell_(tell), total_(total), caller_(std::this_thread::get_id()) {}

    void add(int64_t count) {
        const int64_t done = done_.fetch_add(count) + count;
        if (std::this_thread::get_id() != caller_ || (done < next_ && done < total_)) return;
        next_ = done + total_ / 200;
        nb::gil_scoped_acquire hold;
        try {
            if (PyErr_CheckSignals() != 0) throw nb::python_error();
            if (!tell_.is_none()) tell_(static_cast<double>(done) / static_cast<double>(total_));
        } catch (...) {
            stopped_ = true;
            throw;
        }
    }

    bool stopped() const { return stopped_; }

private:
    const nb::object &tell_;
    int64_t total_, next_ = 0;
    std::thread::id caller_;
    std::atomic<int64_t> done_{0};
    std::atomic<bool> stopped_{false};
};

}  // namespace
