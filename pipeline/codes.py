"""Coded concepts for common structures, as DICOM writes them, looked up by name. Knows no label values, colours or files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import UserError, nearest

# The categories of PS3.16 CID 7150: meaning → SNOMED CT code.
CATEGORIES = {
    "Anatomical Structure": "91723000",
    "Body Substance": "91720002",
    "Function": "246464006",
    "Morphologically Abnormal Structure": "49755003",
    "Physical object": "260787004",
    "Spatial and Relational Concept": "309825002",
    "Substance": "105590001",
    "Tissue": "85756007",
}
# Where in or on it: meaning in a label table → SNOMED CT code and DICOM's meaning (CID 2 and 244).
MODIFIERS = {
    "left": ("7771000", "Left"),
    "right": ("24028007", "Right"),
    "both": ("51440002", "Bilateral"),
    "anterior": ("255549009", "Anterior"),
    "posterior": ("255551008", "Posterior"),
}
SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
SIDES |= {"both": "both", "bilateral": "both"}
ENDS = {"anterior": "anterior", "posterior": "posterior"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A coded concept (PS3.3 section 8.8) with the category that a segmentation needs beside it."""

    value: str
    meaning: str
    scheme: str = "SCT"  # SNOMED CT
    category: str = "Tissue"  # one of CATEGORIES
    modifiers: tuple[str, ...] = ()  # some of MODIFIERS

    def __post_init__(self) -> None:
        if self.category not in CATEGORIES:
            raise UserError(f"'{self.category}' is not a category of structures{nearest(self.category, CATEGORIES)}")
        for word in self.modifiers:
            if word not in MODIFIERS:
                raise UserError(f"'{word}' does not say where in a structure{nearest(word, MODIFIERS)}")


# What is said of a structure that has no code: it is tissue, which is true of whatever is segmented in a patient.
UNCODED = Code(value="85756007", meaning="Tissue")


def code_of(name: str) -> Code | None:
    """The concept of a structure's name, None where the table below does not know it: a wrong code is worse than none.

    Upper and lower case and the signs between words do not count. "kidney_left", "KidneyL" and "left kidney" are the kidney
    with the modifier left, "kidneys" with both; "hippocampus anterior" is its anterior part; "liver tumour" is a neoplasm.
    """
    words = words_of(name)
    exact = _known(words)
    if exact is not None:
        return exact
    if len(words) > 1 and code_of(" ".join(words[:-1])) is not None:
        abnormal = _known(words[-1:])
        if abnormal is not None and abnormal.category == "Morphologically Abnormal Structure":
            return abnormal
    sides, ends = [SIDES[w] for w in words if w in SIDES], [ENDS[w] for w in words if w in ENDS]
    rest = [w for w in words if w not in SIDES and w not in ENDS]
    if len(sides) > 1 or len(ends) > 1 or not rest:
        return None
    code, paired = _singular(rest)
    if code is None or (sides and not paired):
        return None
    several = code is not _known(rest)  # "kidneys"
    modifiers = (*(sides or (["both"] if several and paired else [])), *ends)
    return Code(value=code.value, meaning=code.meaning, scheme=code.scheme, category=code.category, modifiers=modifiers)


def category_of(value: str) -> str:
    """The category of a concept of the table, 'Tissue' for any other."""
    return next((code.category for code, _ in _CONCEPTS.values() if code.value == value), UNCODED.category)


def words_of(name: str) -> list[str]:
    """'RightParotid' → ['right', 'parotid']; digits stay with the letters before them."""
    parts = re.findall(r"[A-Z]?[a-zäöüß]+[0-9]*|[A-Z]+(?![a-z])[0-9]*|[0-9]+", name)
    return [part.lower() for part in parts]


def _known(words: list[str]) -> Code | None:
    found = _CONCEPTS.get("".join(words))
    return found[0] if found else None


def _singular(words: list[str]) -> tuple[Code | None, bool]:
    """The concept of the words or of their singular, and whether a body has two of it."""
    key = "".join(words)
    return _CONCEPTS.get(key) or _CONCEPTS.get(key.removesuffix("s")) or (None, False)


# Below: SNOMED CT code, how many of it a body has (2: a side can be said), DICOM's meaning: names.
_ANATOMY = """
  10200004 1 Liver: liver
  78961009 1 Spleen: spleen
  15776009 1 Pancreas: pancreas
  64033007 2 Kidney: kidney
  28231008 1 Gallbladder: gallbladder
  69695003 1 Stomach: stomach
  38848004 1 Duodenum: duodenum
  30315005 1 Small intestine: smallbowel, smallintestine
  14742008 1 Large intestine: largeintestine, largebowel
  71854001 1 Colon: colon
  60184004 1 Sigmoid colon: sigmoid, sigmoidcolon
  34402009 1 Rectum: rectum
  23451007 2 Adrenal gland: adrenal, adrenalgland
  32849002 1 Esophagus: esophagus, oesophagus
  89837001 1 Bladder: bladder, urinarybladder
  41216001 1 Prostate: prostate
 279706003 1 Peripheral zone of the prostate: peripheralzone, prostateperipheralzone
 399384005 1 Transition zone of the prostate: transitionzone, transitionalzone, prostatetransitionzone
  64739004 2 Seminal Vesicle: seminalvesicle, seminalves
  35039007 1 Uterus: uterus
  15497006 2 Ovary: ovary
  40689003 2 Testis: testis, testicle
  28273000 1 Bile duct: bileduct
   8993003 1 Hepatic vein: hepaticvein
  32764006 1 Portal vein: portalvein
  35819009 1 Splenic vein: splenicvein
  15825003 1 Aorta: aorta
  54247002 1 Ascending aorta: ascendingaorta
   7832008 1 Abdominal aorta: abdominalaorta
  64131007 1 Inferior vena cava: inferiorvenacava, ivc, postcava
  48345005 1 Superior vena cava: superiorvenacava, svc
  81040000 1 Pulmonary artery: pulmonaryartery
  10293006 2 Iliac artery: iliacartery, iliacarteria
 244411005 2 Iliac vein: iliacvein, iliacvena
  69105007 2 Carotid Artery: carotid, carotidartery
  32062004 2 Common carotid artery: commoncarotidartery
  41801008 1 Coronary artery: coronaryartery, coronaries
  80891009 1 Heart: heart
  87878005 1 Left ventricle: leftventricle, lv, lvcavity, leftventricularcavity
  53085002 1 Right ventricle: rightventricle, rv, rvcavity
  82471001 1 Left atrium: leftatrium, la
  73829009 1 Right atrium: rightatrium, ra
  49848007 1 Left Ventricle Myocardium: myocardium, lvmyocardium, leftventriclemyocardium, leftventricularmyocardium
  76848001 1 Pericardium: pericardium
  39607008 2 Lung: lung
  45653009 2 Upper lobe of lung: lungupperlobe, upperlobelung
  90572001 2 Lower lobe of lung: lunglowerlobe, lowerlobelung
  72481006 1 Middle lobe of right lung: lungmiddleloberight, middleloberightlung
  44567001 1 Trachea: trachea
    955009 2 Bronchus: bronchus
   5798000 1 Diaphragm: diaphragm
  72410000 1 Mediastinum: mediastinum
   9875009 1 Thymus: thymus
  76752008 2 Breast: breast
  69748006 1 Thyroid: thyroid, thyroidgland
  12738006 1 Brain: brain
 119238007 1 Brain Stem: brainstem
 113305005 1 Cerebellum: cerebellum
  35764002 1 Brain ventricle: brainventricle
  66720007 2 Lateral Ventricle: lateralventricle
  49841001 1 Third ventricle: thirdventricle
  35918002 1 Fourth Ventricle: fourthventricle
 389080008 1 White Matter: whitematter
 389081007 1 Gray Matter: graymatter, greymatter
  40146001 1 Cerebral cortex: cerebralcortex
  68523003 1 Cerebral White Matter: cerebralwhitematter
  65216001 1 Cerebrospinal Fluid: csf, cerebrospinalfluid
  88442005 1 Corpus callosum: corpuscallosum
   5366008 2 Hippocampus: hippocampus
   4958002 2 Amygdala: amygdala
  42695009 2 Thalamus: thalamus
  11000004 2 Caudate Nucleus: caudate, caudatenucleus
  89278009 2 Putamen: putamen
  14738005 2 Globus Pallidus: pallidum, globuspallidus
 427667007 2 Nucleus Accumbens: accumbens, nucleusaccumbens
  83251001 2 Frontal lobe: frontallobe
  16630005 2 Parietal lobe: parietallobe
  78277001 2 Temporal lobe: temporallobe
  31065004 2 Occipital lobe: occipitallobe
  56329008 1 Pituitary: pituitary, pituitarygland, hypophysis
 244453006 1 Optic chiasm: opticchiasm, chiasm, chiasma
  18234004 2 Optic nerve: opticnerve
  81745001 2 Eye: eye
  79652003 2 Eyeball: eyeball, globe
  78076003 2 Lens: lens, eyelens
  13561001 2 Lacrimal gland: lacrimalgland, lacrimal
   2748008 1 Spinal cord: spinalcord, cord
  36582005 2 Brachial plexus: brachialplexus
  45289007 2 Parotid gland: parotid, parotidgland
  54019009 2 Submandibular gland: submandibular, submandibulargland
   4596009 1 Larynx: larynx
   1307006 1 Glottis: glottis
  54066008 1 Pharynx: pharynx
 360955006 1 Nasopharynx: nasopharynx
  31389004 1 Oropharynx: oropharynx
  81502006 1 Hypopharynx: hypopharynx
  74262004 1 Oral cavity: oralcavity
  21974007 1 Tongue: tongue
  47975008 1 Base of tongue: baseoftongue, tonguebase
  49460000 1 Soft palate: softpalate
  91609006 1 Mandible: mandible
  70925003 1 Maxilla: maxilla
  38199008 1 Tooth: tooth, teeth
  89546000 1 Skull: skull
  51282000 1 Vertebra: vertebra, vertebrae
  54735007 1 Sacrum: sacrum
 113197003 2 Rib: rib, ribs
  56873002 1 Sternum: sternum
  50016007 1 Costal Cartilage: costalcartilage, costalcartilages
  51299004 2 Clavicle: clavicle, clavicula
  79601000 2 Scapula: scapula
  85050009 2 Humerus: humerus
  62413002 2 Radius: radius
 118645006 1 Pelvis: pelvicbone, bonypelvis
  22356005 2 Ilium: ilium
  71341001 2 Femur: femur
   2812003 2 Head of Femur: femoralhead, femurhead, headoffemur
  64234005 2 Patella: patella
  12611008 2 Tibia: tibia
  87342007 2 Fibula: fibula
  91747007 1 Lumen of blood vessel: vessellumen, lumen
  38266002 1 Entire body: body, external, bodyoutline
"""
_VERTEBRAE = """
C1 14806007 C2 39976000 C3 113205007 C4 5329002 C5 36978003 C6 36054005
C7 87391001 T1 64864005 T2 53733008 T3 1626008 T4 73071006 T5 56401006
T6 45296009 T7 62487009 T8 11068009 T9 82687006 T10 7610001 T11 12989004
T12 23215003 L1 66794005 L2 14293000 L3 36470004 L4 11994002 L5 49668003
"""
_ABNORMAL = """
 108369006 1 Neoplasm: tumour, tumor, neoplasm, cancer, carcinoma, gtv, gtvp, gtvn, gtvmass
  14799000 1 Neoplasm, Secondary: metastasis, metastases
  52988006 1 Lesion: lesion, lesions
   4147007 1 Mass: mass
  27925004 1 Nodule: nodule, nodules
 367643001 1 Cyst: cyst, cysts
  79654002 1 Edema: edema, oedema
   6574001 1 Necrosis: necrosis
  50960005 1 Hemorrhage: hemorrhage, haemorrhage
  35566002 1 Hematoma: hematoma, haematoma
  44132006 1 Abscess: abscess
  85659009 1 Aneurysm: aneurysm
"""
_TISSUE = """
  91772007 1 Organ: organ
  85756007 1 Tissue: tissue
  12402003 1 Scar tissue: scar
  87784001 1 Soft tissue: softtissue
   3138006 1 Bone: bone, bones
  91727004 1 Muscle: muscle, muscles
  55603005 1 Fat: fat, adiposetissue
  71966008 1 Subcutaneous tissue: subcutaneoustissue
  39937001 1 Skin: skin
 309312004 1 Cartilage: cartilage
  74135004 1 Meniscus: meniscus
  59820001 1 Blood Vessel: vessel, vessels, bloodvessel, bloodvessels
  51114001 1 Artery: artery, arteries
  29092000 1 Vein: vein, veins
  59441001 1 Lymph Node: lymphnode, lymphnodes
  91728009 1 Nerve: nerve
"""
_OBJECTS = """
  40388003 1 Implant: implant
  53350007 1 Prosthesis: prosthesis
  65818007 1 Stent: stent
  19923001 1 Catheter: catheter
"""


def _concepts(text: str, category: str) -> Iterator[tuple[str, tuple[Code, bool]]]:
    for line in text.strip().splitlines():
        value, count, rest = line.split(maxsplit=2)
        meaning, _, names = rest.rpartition(": ")
        code = Code(value=value, meaning=meaning, category=category)
        for name in names.split(", "):
            yield name, (code, count == "2")


def _vertebrae() -> Iterator[tuple[str, tuple[Code, bool]]]:
    words = _VERTEBRAE.split()
    for place, value in zip(words[::2], words[1::2], strict=True):
        code = Code(value=value, meaning=f"{place} vertebra", category="Anatomical Structure")
        for key in ("vertebra{}", "vertebrae{}", "{}vertebra"):
            yield key.format(place.lower()), (code, False)


_CONCEPTS: dict[str, tuple[Code, bool]] = {
    **dict(_concepts(_ANATOMY, "Anatomical Structure")),
    **dict(_vertebrae()),
    **dict(_concepts(_ABNORMAL, "Morphologically Abnormal Structure")),
    **dict(_concepts(_TISSUE, "Tissue")),
    **dict(_concepts(_OBJECTS, "Physical object")),
}
