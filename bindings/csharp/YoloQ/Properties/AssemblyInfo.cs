// SPDX-License-Identifier: Apache-2.0
using System;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

[assembly: AssemblyTitle("YoloQ.Net")]
[assembly: AssemblyDescription("Quantised YOLO detectors: .NET binding of the yoloq library")]
[assembly: AssemblyProduct("yoloq")]
[assembly: AssemblyCopyright("Apache-2.0")]
[assembly: AssemblyVersion("0.1.0.0")]
[assembly: AssemblyFileVersion("0.1.0.0")]
[assembly: AssemblyInformationalVersion("0.1.0")]
[assembly: CLSCompliant(false)]
[assembly: ComVisible(false)]
[assembly: InternalsVisibleTo("YoloQ.Tests")]
