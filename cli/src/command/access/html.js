
// Shows the principals of whom some word of the matrix or of the reasons holds the text of the filter.
const filter = document.getElementById("filter");
const input = filter.querySelector("input");
const rows = new Map();
for (const element of document.querySelectorAll("[data-row]")) {
  const row = rows.get(element.dataset.row) ?? { elements: [], text: "" };
  row.elements.push(element);
  row.text += element.textContent.toLowerCase();
  rows.set(element.dataset.row, row);
}
function apply() {
  const text = input.value.toLowerCase().trim();
  let shown = 0;
  for (const row of rows.values()) {
    const fits = row.text.includes(text);
    shown += fits;
    for (const element of row.elements) element.hidden = !fits;
  }
  filter.querySelector("output").textContent = `${shown} of ${rows.size} principals`;
}
filter.hidden = false;
input.addEventListener("input", apply);
// A link to the page may have a filter: #filter=reader
const given = /^#filter=(.*)$/.exec(location.hash);
if (given) input.value = decodeURIComponent(given[1]);
apply();
