// Runs the models, apart from the page: see photo.js.
