"""A shop in twenty lines. Beside `sml up`: uvicorn --app-dir examples --port 8080 shop:app."""  # noqa: INP001

import os

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse
from sml_online_client import AsyncClient, Features, UnavailableError

ITEMS: list[Features] = [{"id": item, "item_id": item, "price": price} for item, price in (("cup", 9.0), ("pot", 24.0), ("tea", 4.5))]
sml = AsyncClient(os.environ.get("SML_URL", "http://127.0.0.1:8000"), timeout=1.0)
app = FastAPI()


@app.get("/")
async def show(user: str = "") -> HTMLResponse:
    """Show the items, the most probable first, and log that they were shown; without a server, in their own order."""
    try:
        answer = await sml.predict(ITEMS, {"user_id": user}, log=True)
    except UnavailableError:
        return HTMLResponse("".join(f"<button>{item['id']}</button>" for item in ITEMS))
    best = sorted(answer.predictions, key=lambda each: each.probability, reverse=True)
    forms = [
        f'<form method="post" action="/buy/{each.impression_id}"><button>{each.id}</button> {each.probability:.1%}</form>' for each in best
    ]
    return HTMLResponse("".join(forms))


@app.post("/buy/{impression_id}")
async def buy(impression_id: str) -> RedirectResponse:
    """Record the click."""
    sml.click(impression_id)
    return RedirectResponse("/", 303)
