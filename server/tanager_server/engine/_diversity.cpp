// The greedy choice of diversity.py, which says what is chosen and why.

#include <limits>

#include "_native.h"

namespace {

class Chooser {
 public:
  // `categories` has the categories of each item.
  Chooser(const py::handle& vectors, const py::handle& categories, std::size_t category_count)
      : owner_(py::reinterpret_borrow<py::object>(categories)),
        vectors_(take<float>(vectors, 2, "vectors")),
        items_(static_cast<std::size_t>(vectors_.shape(0))),
        dim_(static_cast<std::size_t>(vectors_.shape(1))),
        categories_(categories, category_count, "categories"),
        category_count_(category_count) {
    if (categories_.rows != items_) throw py::value_error("categories: a row for each item");
  }

  // Indices of the chosen candidates, in the order in which they were chosen. `groups` are the interests of candidates
  // and `shares` what part of the list each of them is due; both may be empty.
  std::vector<std::size_t> choose(const Positions& positions, const std::vector<float>& scores,
                                  const std::vector<std::size_t>& groups, const std::vector<double>& shares,
                                  double mmr_lambda, std::size_t max_per_category, std::size_t count) const {
    if (scores.size() != positions.size() || (!groups.empty() && groups.size() != positions.size())) {
      throw py::value_error("a score, and a group if there are any, for each candidate");
    }
    for (const Position item : positions) {
      if (item < 0 || static_cast<std::size_t>(item) >= items_) throw py::index_error("no such item");
    }
    for (const std::size_t group : groups) {
      if (group >= shares.size()) throw py::index_error("no such group");
    }
    const std::size_t n = positions.size();
    const auto [least, most] = std::minmax_element(scores.begin(), scores.end());
    const double span = n > 0 && *most > *least ? static_cast<double>(*most) - *least : 1.0;
    std::vector<double> relevance(n), likeness(n, 0.0);
    for (std::size_t i = 0; i < n; ++i) relevance[i] = (static_cast<double>(scores[i]) - *least) / span;

    std::vector<float> products(n);
    std::vector<char> gone(n, 0), spent(shares.size(), 0);
    std::vector<std::size_t> taken(shares.size(), 0), in_category(category_count_, 0), chosen;
    const auto full = [&](Position item) {
      if (max_per_category == 0) return false;
      for (std::int64_t entry = categories_.indptr[item]; entry < categories_.indptr[item + 1]; ++entry) {
        if (in_category[categories_.indices[entry]] >= max_per_category) return true;
      }
      return false;
    };
    const auto best_of = [&](bool any, std::size_t group) {
      std::size_t best = n;
      double highest = -std::numeric_limits<double>::infinity();
      for (std::size_t i = 0; i < n; ++i) {
        if (gone[i] || (!any && groups[i] != group)) continue;
        if (full(positions[i])) {
          gone[i] = 1;  // what is full stays full
          continue;
        }
        const double value = mmr_lambda * relevance[i] - (1.0 - mmr_lambda) * likeness[i];
        if (value > highest) highest = value, best = i;
      }
      return best;
    };
    while (chosen.size() < count) {
      std::size_t next = n;
      if (groups.empty()) {
        next = best_of(true, 0);
      } else {
        // Sainte-Laguë: whoever has the most share for each place, its next one counted half.
        for (;;) {
          std::size_t turn = shares.size();
          double quotient = -1.0;
          for (std::size_t group = 0; group < shares.size(); ++group) {
            const double due = shares[group] / (2.0 * static_cast<double>(taken[group]) + 1.0);
            if (!spent[group] && due > quotient) quotient = due, turn = group;
          }
          if (turn == shares.size()) break;
          next = best_of(false, turn);
          if (next < n) {
            ++taken[turn];
            break;
          }
          spent[turn] = 1;
        }
      }
      if (next == n) break;
      chosen.push_back(next);
      gone[next] = 1;
      const Position item = positions[next];
      for (std::int64_t entry = categories_.indptr[item]; entry < categories_.indptr[item + 1]; ++entry) {
        ++in_category[categories_.indices[entry]];
      }
      if (mmr_lambda < 1.0) {
        multiply(vectors_.data(), positions, vectors_.data() + item * dim_, dim_, products.data());
        const bool first = chosen.size() == 1;
        for (std::size_t i = 0; i < n; ++i) {
          likeness[i] = first ? products[i] : std::max(likeness[i], static_cast<double>(products[i]));
        }
      }
    }
    return chosen;
  }

 private:
  py::object owner_;
  Array<float> vectors_;
  const std::size_t items_, dim_;
  const Rows categories_;
  const std::size_t category_count_;
};

}  // namespace

PYBIND11_MODULE(_diversity, module) {
  module.doc() = "The greedy choice of diverse items.";
  py::class_<Chooser>(module, "Chooser")
      .def(py::init<py::handle, py::handle, std::size_t>(), py::arg("vectors"), py::arg("categories"),
           py::arg("category_count"))
      .def("choose", &Chooser::choose, py::arg("positions"), py::arg("scores"), py::arg("groups"), py::arg("shares"),
           py::arg("mmr_lambda"), py::arg("max_per_category"), py::arg("count"));
}
