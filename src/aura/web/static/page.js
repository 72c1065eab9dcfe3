// What every page needs: dialogs, copying, times as here, the two-tick rule of the history.

document.addEventListener("click", async (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) document.getElementById(opener.dataset.dialog).showModal();

  const copier = event.target.closest("[data-copy]");
  if (copier) {
    const field = document.getElementById(copier.dataset.copy);
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      copier.textContent = copier.dataset.copied;
    } catch {
      // No clipboard without TLS; the address is selected, ready to be copied by hand.
    }
  }
});

for (const field of document.querySelectorAll("[data-here]")) {
  field.value = location.pathname + location.search;
}

// Times come in UTC. Whoever reads them sees their own, and UTC on pointing at it.
function tellLocalTimes() {
  const { lang } = document.documentElement;
  const region = navigator.languages.find((one) => one.split("-")[0] === lang) || lang;
  const day = new Intl.DateTimeFormat(region, { dateStyle: "medium" });
  const own = new Intl.DateTimeFormat(region, {
    dateStyle: "medium", timeStyle: "short", hourCycle: "h23",
  });
  for (const time of document.querySelectorAll("time[datetime]:not([title])")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = time.dateTime.replace("T", " ").replace("Z", " UTC");
    time.textContent = ("day" in time.dataset ? day : own).format(at);
  }
}
tellLocalTimes();
document.addEventListener("htmx:afterSwap", tellLocalTimes);

const compare = document.querySelector("[data-needs-two]");
if (compare) {
  const count = () => {
    compare.disabled = document.querySelectorAll('input[name="job"]:checked').length !== 2;
  };
  document.addEventListener("change", count);
  document.addEventListener("htmx:afterSwap", count);
  count();
}
