// Elements of the page from figures. Texts of peers become text nodes, and never HTML.
"use strict";

const byId = (id) => document.getElementById(id);

function element(name, text, classes) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = String(text);
  if (classes) made.className = classes;
  return made;
}

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function count(value) {
  return value === null || value === undefined ? "-" : Number(value).toLocaleString("en-US");
}

function rate(value) {
  if (value === null || value === undefined) return "-";
  return value >= 100 ? count(Math.round(value)) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "-";
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.round(hours / 24)} days`;
}

function clockTime(unix) {
  return unix ? new Date(unix * 1000).toLocaleString() : "-";
}

// A table whose rows and cells are kept, so that a button is not replaced while it is pressed.
// columns: [heading, key, cell(row) -> text or element, classes]
function fillTable(table, columns, rows, keyOf) {
  if (!table.tHead) {
    const head = table.createTHead().insertRow();
    for (const [heading, , , classes] of columns) head.append(element("th", heading, classes));
    table.createTBody();
  }
  const body = table.tBodies[0];
  const old = new Map([...body.rows].map((row) => [row.dataset.row, row]));
  rows.forEach((values, place) => {
    const key = keyOf(values);
    let row = old.get(key);
    old.delete(key);
    if (!row) {
      row = document.createElement("tr");
      row.dataset.row = key;
      for (const [, name, , classes] of columns) {
        const cell = element("td", "", classes);
        cell.dataset.figure = name;
        row.append(cell);
      }
    }
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] || null);
    columns.forEach(([, , cellOf], number) => {
      const cell = row.cells[number], made = cellOf(values, cell);
      if (made === undefined) return;
      setText(cell, String(made));
    });
  });
  for (const row of old.values()) row.remove();
}
