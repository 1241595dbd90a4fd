"""The commonest letters of the scripts that old encodings were made for, by which those are told apart.

Everyday text consists of these by a third or more; read in a wrong encoding it hits them by chance only.
"""

CommonLetters = frozenset[str]

_MARKS = "，。？！、：；“”‘’（）《》「」『』【】…—～　"
_CHINESE = (
    "的一是不了在人有我他这個个们們中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于於着著下自之年过過发發"
    "后後作里裡用道行所然家种種事成方多经經么麼去法学學如都同现現当當没沒动動面起看定天分还還进進好小部其些主样樣理心本前开開"
    "但因只从從想实實日者意无無力它与與长長把机機十民第公此已工使情明性知全三又关關点點正业業外将將两兩高间間由问問很最重并並"
    "物手应應向头頭文体體政美相见見被利什二等产產或新己制身果加月话話合回特代内內信表化老给給世位次度门門任常先海通教原东東声聲"
    "提立及比员員解水名真论論处處走义義各入几幾口认認条條平系气氣题題活更别別打女变變四总總何电電数數安少报報才结結反受目太量再"
    "感建务務做接必场場件计計管期市直资資命山金指许許统統区區保至队隊形社便空决決治展科司五基书書非则則听聽白却界达達光放强強即像"
    "您请請吗嗎呢吧啊谢謝谁誰货貨单單买買卖賣退换換款品客服付快递遞价價格订訂收送修装裝号號码碼店网網病药藥医醫院答案词詞"
)
_KOREAN = (
    "이다는에의가을지고하은로기사리서도를대어인한시자해나아있것수보그라만정일제들부으게요니스전습까세주원안여동조장과적구상성진되면우선신"
    "오거내교문소방환불품송배매확결입합할없때며와관공위경계단개간미무등저치실차비행물질답변영용음당분금연반객점드트전화네"
)
_HIRAGANA = "".join(map(chr, range(0x3041, 0x3097)))
_KATAKANA = "".join(map(chr, range(0x30A1, 0x30FD)))
_RUSSIAN = "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґ№"
_GREEK = "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώ"
_HEBREW = "אבגדהוזחטיכךלמםנןסעפףצץקרשת"
_ARABIC = "ابتثجحخدذرزسشصضطظعغفقكلمنهويءآأؤإئةى،؟"
_THAI = "".join(map(chr, range(0x0E01, 0x0E3B))) + "".join(map(chr, range(0x0E40, 0x0E4F)))
_WEST = "àâäáãåæçèéêëìíîïñòóôöõøœùúûüßÀÂÄÁÅÇÈÉÊÍÎÑÓÔÖØÚÜ‘’“”–—…€«»¿¡°·©®ºª£"
_CENTRAL = "ąćęłńóśźżáčďéěíňřšťúůýžäöüßőűâîăşţôľĺŕđĄĆĘŁŚŹŻČŘŠŽÁÉÍÓÖÜŐŰ‘’“”„–—…€«»°©®"
_TURKISH = "çğıöşüâîÇĞİÖŞÜ‘’“”–—…€«»°"

SCRIPTS: dict[str, CommonLetters] = {
    "gb18030": frozenset(_CHINESE + _MARKS),
    "big5": frozenset(_CHINESE + _MARKS),
    "cp932": frozenset(_HIRAGANA + _KATAKANA + _MARKS),
    "euc_jp": frozenset(_HIRAGANA + _KATAKANA + _MARKS),
    "cp949": frozenset(_KOREAN),
}
"""Encodings of two bytes a letter."""

ALPHABETS: dict[str, CommonLetters] = {
    "cp1255": frozenset(_HEBREW),
    "cp1251": frozenset(_RUSSIAN),
    "koi8-r": frozenset(_RUSSIAN),
    "cp866": frozenset(_RUSSIAN),
    "cp1253": frozenset(_GREEK),
    "cp1256": frozenset(_ARABIC),
    "cp874": frozenset(_THAI),
}
"""Encodings of one byte a letter, whose words are wholly beyond ASCII; where several fit equally the first is taken."""

LATIN: dict[str, CommonLetters] = {
    "cp1252": frozenset(_WEST),
    "cp1250": frozenset(_CENTRAL),
    "cp1254": frozenset(_TURKISH),
}
"""Encodings of Latin letters, few of which are beyond ASCII; where several fit equally the first is taken."""
