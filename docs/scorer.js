// How the search orders what it finds: as Sphinx does, but the page about a word comes before its line in the glossary,
// and a heading that is the question comes before pages that have a word of it in a heading.
var Scorer = {
  score: ([page, , , , score, , kind]) =>
    score - (page === "reference/glossary" ? 1 : 0) + (kind === "title" ? 2 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
