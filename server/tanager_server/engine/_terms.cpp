// The terms of scores that reasons.py tells of and interests.py shares out, one by one: the sum of ranking.py, taken
// apart. For a page or some more items, not for the catalogue.

#include <optional>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "_native.h"

namespace {

// What a term comes from: see `Term` in reasons.py.
enum Kind : int { kCollaborative, kTransition, kText, kSequence, kWords, kAttribute, kPrior };

// Kind, what of that kind (an item of the history, a text, an attribute), and how much it adds.
using Term = std::tuple<int, Position, double>;
// The largest terms of an item's score, largest first, and the sum of all the others.
using Explanation = std::pair<std::vector<Term>, double>;

class Terms : Tables {
 public:
  explicit Terms(const py::kwargs& settings)
      : Tables(settings),
        collaborative_(settings["collaborative"].cast<double>()),
        transitions_(settings["transitions_weight"].cast<double>()),
        history_text_(settings["history_text"].cast<double>()),
        profile_(settings["profile"].cast<double>()),
        collaborative_half_life_(settings["collaborative_half_life"].cast<double>()),
        transitions_half_life_(settings["transitions_half_life"].cast<double>()),
        history_text_half_life_(settings["history_text_half_life"].cast<double>()),
        known_events_(settings["known_events"].cast<double>()) {}

  // The largest positive terms of the score of each item. `words` are vectors and their weights; `scale` is what priors
  // and attributes count for. `expected` is the vector of what the sequence head says comes next, with its weight, and
  // `without` what it would be without each of the items `left_out`: the difference is that item's term.
  std::vector<Explanation> explain(const Positions& positions, const Positions& rows, const std::vector<float>& weights,
                                   const Positions& attributes,
                                   const std::vector<std::pair<Array<float>, float>>& words,
                                   const std::optional<Array<float>>& expected, const Positions& left_out,
                                   const std::optional<Array<float>>& without, double scale, std::size_t count) const {
    check(positions, rows, weights, attributes);
    check(left_out, {}, {}, {});
    check(expected, left_out.size(), without);
    for (const auto& [vector, weight] : words) {
      if (vector.ndim() != 1 || static_cast<std::size_t>(vector.size()) != dim_)
        throw py::value_error("a vector of words");
    }
    if (positions.empty()) return {};
    const Page page(positions);
    const History history(rows, weights, *this);
    const std::size_t events = history.items.size();
    std::vector<double> together(positions.size() * events), follows(together.size());
    for (std::size_t h = 0; h < events; ++h) {
      page.gather(together_, history.items[h], collaborative_ * history.together[h], &together[h], events);
      page.gather(follows_, history.items[h], transitions_ * history.follows[h], &follows[h], events);
    }
    std::vector<double> of_attributes(positions.size() * attributes.size());
    const double profile = scale * profile_ * (1.0 - history.known);
    for (std::size_t a = 0; a < attributes.size(); ++a) {
      page.gather(attributes_, attributes[a], profile, &of_attributes[a], attributes.size());
    }

    std::vector<Explanation> explanations;
    std::vector<Term> terms;
    for (std::size_t i = 0; i < positions.size(); ++i) {
      const Position item = positions[i];
      const float* vector = vectors_ + item * dim_;
      terms.clear();
      for (std::size_t h = 0; h < events; ++h) {
        const double text = history_text_ * history.text[h] * dot(vectors_ + history.items[h] * dim_, vector, dim_);
        add(terms, kCollaborative, history.items[h], together[i * events + h]);
        add(terms, kTransition, history.items[h], follows[i * events + h]);
        add(terms, kText, history.items[h], text);
      }
      for (std::size_t k = 0; k < words.size(); ++k) {
        add(terms, kWords, static_cast<Position>(k),
            static_cast<double>(words[k].second) * dot(words[k].first.data(), vector, dim_));
      }
      for (std::size_t a = 0; a < attributes.size(); ++a) {
        add(terms, kAttribute, attributes[a], of_attributes[i * attributes.size() + a]);
      }
      add(terms, kPrior, -1, scale * (prior_[item] + history.known * prior_known_[item]));
      double rest = 0.0;  // of what comes next, beside the terms of single items
      if (expected) {
        const float* next = sequence_vectors_ + item * sequence_dim_;
        const double all = dot(expected->data(), next, sequence_dim_);
        rest = all;
        for (std::size_t k = 0; k < left_out.size(); ++k) {
          const double of_item = all - dot(without->data() + k * sequence_dim_, next, sequence_dim_);
          add(terms, kSequence, left_out[k], of_item);
          rest -= of_item;
        }
      }
      explanations.push_back(largest(terms, count));
      explanations.back().second += rest;
    }
    return explanations;
  }

  // (positions, count): what the events of each group add to the score of each item, by B, T and their text; events of
  // a negative group are in none.
  Array<double> shares(const Positions& positions, const Positions& rows, const std::vector<float>& weights,
                       const Positions& groups, std::size_t count) const {
    check(positions, rows, weights, {});
    if (groups.size() != rows.size()) throw py::value_error("a group for each row");
    const Page page(positions);
    const auto together = decayed(weights, collaborative_half_life_),
               follows = decayed(weights, transitions_half_life_);
    const auto text = decayed(weights, history_text_half_life_);
    double total = 0.0;
    for (const float weight : text) total += std::abs(weight);
    Array<double> sums({static_cast<py::ssize_t>(positions.size()), static_cast<py::ssize_t>(count)});
    double* cells = sums.mutable_data();
    std::fill(cells, cells + positions.size() * count, 0.0);
    std::vector<float> directions(count * dim_, 0.0F);
    for (std::size_t h = 0; h < rows.size(); ++h) {
      if (groups[h] < 0) continue;
      const auto group = static_cast<std::size_t>(groups[h]);
      if (group >= count) throw py::index_error("no such group");
      page.gather(together_, rows[h], collaborative_ * together[h], cells + group, count);
      page.gather(follows_, rows[h], transitions_ * follows[h], cells + group, count);
      const auto weight = total > 0.0 ? static_cast<float>(history_text_ * text[h] / total) : 0.0F;
      for (std::size_t d = 0; d < dim_; ++d) directions[group * dim_ + d] += weight * vectors_[rows[h] * dim_ + d];
    }
    std::vector<float> products(positions.size());
    for (std::size_t group = 0; group < count; ++group) {
      multiply(vectors_, positions, directions.data() + group * dim_, dim_, products.data());
      for (std::size_t i = 0; i < positions.size(); ++i) cells[i * count + group] += products[i];
    }
    return sums;
  }

 private:
  // The history by items: an item that comes more than once is one.
  struct History {
    Positions items;
    std::vector<double> together, follows, text;  // text adds up to at most 1
    double known;

    History(const Positions& rows, const std::vector<float>& weights, const Terms& terms) {
      const auto by_together = decayed(weights, terms.collaborative_half_life_);
      const auto by_follows = decayed(weights, terms.transitions_half_life_);
      const auto by_text = decayed(weights, terms.history_text_half_life_);
      double total = 0.0;
      for (const float weight : by_text) total += std::abs(weight);
      std::unordered_map<Position, std::size_t> places;
      for (std::size_t h = 0; h < rows.size(); ++h) {
        const auto [found, fresh] = places.try_emplace(rows[h], items.size());
        if (fresh) {
          items.push_back(rows[h]);
          for (auto* sums : {&together, &follows, &text}) sums->push_back(0.0);
        }
        together[found->second] += by_together[h];
        follows[found->second] += by_follows[h];
        if (total > 0.0) text[found->second] += by_text[h] / total;
      }
      const auto events = static_cast<double>(rows.size());
      known = events > 0.0 ? events / (events + terms.known_events_) : 0.0;
    }
  };

  // Places of the items that are asked about.
  class Page {
   public:
    explicit Page(const Positions& positions) {
      for (std::size_t i = 0; i < positions.size(); ++i) places_[positions[i]].push_back(i);
    }

    // Adds what a row of a matrix has for these items, times a weight, to one number for each of them.
    void gather(const Rows& matrix, Position row, double weight, double* sums, std::size_t stride) const {
      matrix.each(row, [&](std::int32_t item, float entry) {
        const auto found = places_.find(item);
        if (found == places_.end()) return;
        for (const std::size_t place : found->second) sums[place * stride] += weight * entry;
      });
    }

   private:
    std::unordered_map<Position, std::vector<std::size_t>> places_;
  };

  static void add(std::vector<Term>& terms, Kind kind, Position subject, double contribution) {
    if (contribution != 0.0) terms.emplace_back(kind, subject, contribution);
  }

  static Explanation largest(std::vector<Term>& terms, std::size_t count) {
    std::stable_sort(terms.begin(), terms.end(),
                     [](const Term& a, const Term& b) { return std::get<2>(a) > std::get<2>(b); });
    Explanation explanation{{}, 0.0};
    for (const Term& term : terms) {
      if (explanation.first.size() < count && std::get<2>(term) > 0.0) {
        explanation.first.push_back(term);
      } else {
        explanation.second += std::get<2>(term);
      }
    }
    return explanation;
  }

  void check(const std::optional<Array<float>>& expected, std::size_t left_out,
             const std::optional<Array<float>>& without) const {
    const auto dim = static_cast<py::ssize_t>(sequence_dim_);
    const bool fits = !expected || (expected->ndim() == 1 && expected->shape(0) == dim);
    const bool both = !left_out || (expected && without && without->ndim() == 2 && without->shape(1) == dim &&
                                    without->shape(0) == static_cast<py::ssize_t>(left_out));
    if (!fits || !both) throw py::value_error("vectors of what comes next: one in all, and one without each item");
  }

  void check(const Positions& positions, const Positions& rows, const std::vector<float>& weights,
             const Positions& attributes) const {
    if (rows.size() != weights.size()) throw py::value_error("a weight for each row");
    for (const auto* items : {&positions, &rows}) {
      for (const Position item : *items) {
        if (item < 0 || static_cast<std::size_t>(item) >= items_) throw py::index_error("no such item");
      }
    }
    for (const Position row : attributes) {
      if (row < 0 || static_cast<std::size_t>(row) >= attributes_.rows) throw py::index_error("no such attribute");
    }
  }

  const double collaborative_, transitions_, history_text_, profile_;
  const double collaborative_half_life_, transitions_half_life_, history_text_half_life_, known_events_;
};

}  // namespace

PYBIND11_MODULE(_terms, module) {
  module.doc() = "The terms of scores.";
  py::class_<Terms>(module, "Terms")
      .def(py::init<const py::kwargs&>())
      .def("explain", &Terms::explain, py::arg("positions"), py::arg("rows"), py::arg("weights"), py::arg("attributes"),
           py::arg("words"), py::arg("expected").noconvert(), py::arg("left_out"), py::arg("without").noconvert(),
           py::arg("scale"), py::arg("count"))
      .def("shares", &Terms::shares, py::arg("positions"), py::arg("rows"), py::arg("weights"), py::arg("groups"),
           py::arg("count"));
}
