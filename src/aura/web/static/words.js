// The words that a page gives to its script, and values put into them.

export const words = JSON.parse(document.getElementById("words").textContent);

export const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
