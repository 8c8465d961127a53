// Classic and synchronous on purpose: the theme is set before the first paint. Then the dashboard is loaded.
(function () {
  try {
    var theme = localStorage.getItem("chatelaine-theme");
    if (theme === "light" || theme === "dark") {
      document.documentElement.dataset.theme = "chatelaine-" + theme;
    }
  } catch {
    // Storage may be forbidden; the page then follows the system.
  }
  import(document.getElementById("web-js").href)
    .then(function (web) {
      return web.default({ module_or_path: document.getElementById("web-wasm").href });
    })
    .catch(function (error) {
      console.error(error);
      var boot = document.getElementById("boot");
      if (boot) {
        boot.textContent = "The dashboard could not be loaded. Reload the page; if it stays so, update the browser.";
        boot.setAttribute("role", "alert");
      }
    });
})();
