"""GET /v1/models: the base that answers here, then the account's adapters and those shared with it."""

from fastapi import APIRouter, Request

from postil.web.auth import Chatter, TheService
from postil.web.document import OPENAI_ERRORS
from postil.web.openai.answerers import Answerer, find_answerer, list_answerers
from postil.wire.chat import ModelInfo, ModelList

router = APIRouter(prefix="/v1", tags=["openai"], responses=OPENAI_ERRORS)


@router.get("/models")
def list_models(visitor: Chatter, service: TheService) -> ModelList:
    """The base first, then adapters, the newest first; `postil_name` is what people call it."""
    return ModelList(data=[_info(a) for a in list_answerers(service, visitor.account.id)])


@router.get("/models/{model:path}")
def get_model(model: str, visitor: Chatter, service: TheService, request: Request) -> ModelInfo:
    """One model, by its id, its name or an alias."""
    return _info(find_answerer(service, visitor.account.id, model))


def _info(answerer: Answerer) -> ModelInfo:
    return ModelInfo(
        id=answerer.id,
        created=answerer.created,
        owned_by=answerer.owner,
        postil_name=answerer.name,
        postil_base=answerer.base,
    )
