"""What the owners of published weights ask of everyone who uses them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """Licence, citation and acknowledgement of weights; they are printed at import and stay in the bundle."""

    owner: str
    licence: str
    citation: str
    acknowledgement: str = ""
    caution: str = ""


JOIR = Rights(  # http://www.joir.jp/data/en_index.html
    owner="JOIR (Japan Ocular Imaging Registry)",
    licence="as published by the owner of the weights; not redistributable by this project",
    citation=(
        "Miyake M, Akiyama M, Kashiwagi K, Sakamoto T, Oshika T. Japan Ocular Imaging Registry: a national"
        " ophthalmology real-world database. Jpn J Ophthalmol 2022;66(6):499-503, doi 10.1007/s10384-022-00941-0."
    ),
    acknowledgement=(
        "The pre-training model used in this study was developed by the Japanese Ophthalmological Society and the"
        " National Institute of Informatics, and was made available through the Japan Ocular Imaging Registry website"
        " (http://www.joir.jp/)."
    ),
    caution=(
        "The owner says: performance was confirmed in internal verification and is not guaranteed on external data;"
        " the model is intended for ophthalmology research using fundus images."
    ),
)
