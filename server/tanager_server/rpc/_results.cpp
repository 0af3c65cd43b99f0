// The `results` of a response as protobuf's wire format: for ten messages of six fields, Python's own objects take
// longer than finding what is in them.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace {

// Tags: (field number << 3) | wire type, of which 0 is a varint, 2 a length and as many bytes, 5 four bytes.
constexpr char kResults = 1 << 3 | 2;  // of RecommendResponse and of SimilarItemsResponse
constexpr char kItemId = 1 << 3 | 2, kTitle = 2 << 3 | 2, kDomain = 3 << 3 | 2, kRank = 4 << 3, kScore = 5 << 3 | 5;
constexpr char kPropensity = 9 << 3 | 5;

void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void append_string(std::string& out, char tag, std::string_view text) {
  if (text.empty()) return;  // what is empty is left out
  out.push_back(tag);
  append_varint(out, text.size());
  out.append(text);
}

void append_float(std::string& out, char tag, float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (bits == 0) return;
  out.push_back(tag);
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(bits >> shift));
}

class ResultEncoder {
 public:
  ResultEncoder(const py::sequence& ids, const py::sequence& titles, const py::sequence& domains,
                std::vector<std::string> sources)
      : sources_(std::move(sources)) {
    if (ids.size() != titles.size() || ids.size() != domains.size()) throw py::value_error("a title and a domain each");
    spans_.reserve(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      put(i, ids[i].cast<std::string_view>(), titles[i].cast<std::string_view>(), domains[i].cast<std::string_view>());
    }
    items_.shrink_to_fit();
  }

  // Writes what an item is shown with: the one behind the last, or one that there is.
  void put(std::size_t position, std::string_view item_id, std::string_view title, std::string_view domain) {
    if (position > spans_.size()) throw py::index_error("no such item");
    if (position == spans_.size()) spans_.emplace_back();
    const std::size_t begin = items_.size();
    append_string(items_, kItemId, item_id);
    append_string(items_, kTitle, title);
    append_string(items_, kDomain, domain);
    const std::string_view before(items_.data() + spans_[position].first, spans_[position].second);
    if (before == std::string_view(items_).substr(begin)) {
      items_.resize(begin);  // as it was
    } else {
      spans_[position] = {begin, items_.size() - begin};
    }
  }

  // `rests` are further fields of each result, as wire format; none for no result or one for each. Without propensities
  // nothing was left to chance, and each is 1.
  py::bytes encode(const std::vector<std::size_t>& positions, const std::vector<float>& scores,
                   const std::vector<std::size_t>& sources, const std::vector<std::string>& rests,
                   std::size_t first_rank, const std::vector<float>& propensities) const {
    if (positions.size() != scores.size() || positions.size() != sources.size() ||
        (!rests.empty() && positions.size() != rests.size()) ||
        (!propensities.empty() && positions.size() != propensities.size())) {
      throw py::value_error("a score, sources and a propensity for each position");
    }
    std::string out, end;
    for (std::size_t i = 0; i < positions.size(); ++i) {
      const auto [begin, length] = spans_.at(positions[i]);
      end.clear();
      end.push_back(kRank);
      append_varint(end, first_rank + i);
      append_float(end, kScore, scores[i]);
      end.append(sources_.at(sources[i]));
      append_float(end, kPropensity, propensities.empty() ? 1.0F : propensities[i]);
      if (!rests.empty()) end.append(rests[i]);
      out.push_back(kResults);
      append_varint(out, length + end.size());
      out.append(items_, begin, length).append(end);
    }
    return py::bytes(out);
  }

 private:
  std::string items_;  // the fields that are the same whenever an item is shown, one item after the other
  std::vector<std::pair<std::size_t, std::size_t>> spans_;  // where an item's begin, and how many bytes they are
  std::vector<std::string> sources_;
};

}  // namespace

PYBIND11_MODULE(_results, module) {
  module.doc() = "Results as wire format.";
  py::class_<ResultEncoder>(module, "ResultEncoder")
      .def(py::init<const py::sequence&, const py::sequence&, const py::sequence&, std::vector<std::string>>(),
           py::arg("ids"), py::arg("titles"), py::arg("domains"), py::arg("sources"))
      .def("put", &ResultEncoder::put, py::arg("position"), py::arg("item_id"), py::arg("title"), py::arg("domain"))
      .def("encode", &ResultEncoder::encode, py::arg("positions"), py::arg("scores"), py::arg("sources"),
           py::arg("rests") = std::vector<std::string>(), py::arg("first_rank") = 1,
           py::arg("propensities") = std::vector<float>());
}
