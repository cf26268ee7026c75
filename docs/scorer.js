// How the search orders what it finds: as Sphinx does, but the page about a word comes before its line in the glossary.
var Scorer = {
  score: ([page, , , , score]) => (page === "reference/glossary" ? score - 1 : score),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
