"""What the HTTP interface answers: a feed that is pushed, and whether we are alive. Else 404."""

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tideover.console.feeds import FeedPushes


def application(pushes: FeedPushes) -> Starlette:
    """The ASGI application."""

    async def put_feed(request: Request) -> Response:
        try:
            return await pushes.put(request)
        except Exception as error:
            _report(error)
            return Response(status_code=500)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    app = Starlette(
        routes=[
            Route("/v1/domains/{domain}/feed", put_feed, methods=["PUT"]),
            Route("/healthz", healthz, methods=["GET"]),
        ],
        exception_handlers={404: _not_found, 405: _not_found},
    )
    app.router.redirect_slashes = False
    return app


def _not_found(_: Request, __: Exception) -> Response:
    return Response(status_code=404)


def _report(error: Exception) -> None:
    context = {"message": "HTTP request failed", "exception": error}
    asyncio.get_running_loop().call_exception_handler(context)
