// Starts Swagger UI. In a file of its own, so that the policy of the page can forbid every script within it.
SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: "/openapi.json",
  presets: [SwaggerUIBundle.presets.apis],
  tryItOutEnabled: true,
  filter: true,
  displayRequestDuration: true,
  // An API key that a visitor enters is gone when he leaves.
  persistAuthorization: false,
});
