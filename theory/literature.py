"""The papers that results are cited to. Keys are used in theorems, documents and ``jepalign explain``."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A bibliographic entry; ``identifier`` is an arXiv number or a DOI."""

    key: str
    authors: str
    year: int
    title: str
    venue: str
    identifier: str


LITERATURE: dict[str, Paper] = {
    paper.key: paper
    for paper in (
        Paper(
            "tian2021",
            "Y. Tian, X. Chen, S. Ganguli",
            2021,
            "Understanding self-supervised learning dynamics without contrastive pairs",
            "ICML",
            "arXiv:2102.06810",
        ),
        Paper(
            "haochen2021",
            "J. Z. HaoChen, C. Wei, A. Gaidon, T. Ma",
            2021,
            "Provable guarantees for self-supervised deep learning with spectral contrastive loss",
            "NeurIPS",
            "arXiv:2106.04156",
        ),
        Paper(
            "garrido2022",
            "Q. Garrido, Y. Chen, A. Bardes, L. Najman, Y. LeCun",
            2023,
            "On the duality between contrastive and non-contrastive self-supervised learning",
            "ICLR",
            "arXiv:2206.02574",
        ),
        Paper(
            "wang2020",
            "T. Wang, P. Isola",
            2020,
            "Understanding contrastive representation learning through alignment and uniformity on the hypersphere",
            "ICML",
            "arXiv:2005.10242",
        ),
        Paper(
            "tao2022",
            "C. Tao, H. Wang, X. Zhu, J. Dong, S. Song, G. Huang, J. Dai",
            2022,
            "Exploring the equivalence of siamese self-supervised learning via a unified gradient framework",
            "CVPR",
            "arXiv:2112.05141",
        ),
        Paper(
            "halvagal2023",
            "M. S. Halvagal, A. Laborieux, F. Zenke",
            2023,
            "Implicit variance regularization in non-contrastive SSL",
            "NeurIPS",
            "arXiv:2212.04858",
        ),
        Paper(
            "mikulasch2026",
            "F. A. Mikulasch, F. Zenke",
            2026,
            "Understanding self-supervised learning via latent distribution matching",
            "ICML",
            "arXiv:2605.03517",
        ),
        Paper(
            "tang2023",
            "Y. Tang and others",
            2023,
            "Understanding self-predictive learning for reinforcement learning",
            "ICML",
            "arXiv:2212.03319",
        ),
        Paper(
            "wang2021",
            "X. Wang, X. Chen, S. S. Du, Y. Tian",
            2021,
            "Towards demystifying representation learning with non-contrastive self-supervision",
            "preprint",
            "arXiv:2110.04947",
        ),
        Paper(
            "bardes2022",
            "A. Bardes, J. Ponce, Y. LeCun",
            2022,
            "VICReg: variance-invariance-covariance regularization for self-supervised learning",
            "ICLR",
            "arXiv:2105.04906",
        ),
        Paper(
            "ponce2025",
            "J. Ponce, B. Terver, M. Hebert, M. Arbel",
            2025,
            "Dual perspectives on non-contrastive self-supervised learning",
            "ICLR 2026",
            "arXiv:2507.01028",
        ),
        Paper(
            "guo2025",
            "Z. D. Guo, B. Avila Pires, K. Khetarpal, D. Schuurmans, B. Dai",
            2025,
            "Representation learning via non-contrastive mutual information",
            "preprint",
            "arXiv:2504.16667",
        ),
        Paper(
            "lewis1996",
            "A. S. Lewis",
            1996,
            "Derivatives of spectral functions",
            "Mathematics of Operations Research 21(3)",
            "doi:10.1287/moor.21.3.576",
        ),
        Paper(
            "mo2024",
            "S. Mo, S. Tong",
            2024,
            "Connecting joint-embedding predictive architecture with contrastive self-supervised learning",
            "NeurIPS",
            "arXiv:2410.19560",
        ),
        Paper(
            "assran2023",
            "M. Assran and others",
            2023,
            "Self-supervised learning from images with a joint-embedding predictive architecture",
            "CVPR",
            "arXiv:2301.08243",
        ),
    )
}
